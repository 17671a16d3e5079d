package swarm

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// op is what a loop is told to do.
type op uint8

const (
	opGrow   op = iota // make connections until the swarm has N
	opShrink           // end all connections but the swarm's first N
	opRest             // serve connections for a time
	opStall            // make the last N of Total stop reading
	opResume           // make all read again
	opSend             // send as planned; with Await, until all came
	opSettle           // wait up to a time for what is due; the rest is lost
	opStats            // tell all
	opTally            // tell what became of the connections from N to Total
)

// order is what all loops of a swarm are told to do, each for its part.
type order struct {
	Op       op
	N, Total int
	For      time.Duration
	Plan     schedule
	Await    bool
	Churn    float64 // connections renewed each second
}

// reply is what came of an order.
type reply struct {
	Err   error
	Stats *Stats
	Tally Tally
}

// add merges the reply of another part of the swarm.
func (r *reply) add(o reply) {
	if r.Err == nil || errors.Is(r.Err, ErrInterrupted) {
		r.Err = cmp.Or(o.Err, r.Err)
	}
	switch {
	case r.Stats == nil:
		r.Stats = o.Stats
	case o.Stats != nil:
		r.Stats.add(o.Stats)
	}
	r.Tally.Whole += o.Tally.Whole
	r.Tally.Dropped += o.Tally.Dropped
	r.Tally.Lacking += o.Tally.Lacking
}

// Tally counts connections by what became of the messages that were due to them.
type Tally struct {
	Whole   int // got all
	Dropped int // did not, and are closed
	Lacking int // did not, and are open
}

// do does what a loop is told.
func (l *loop) do(o order) (r reply) {
	if l.interrupted.Load() && o.Op != opStats && o.Op != opTally {
		return reply{Err: ErrInterrupted}
	}
	switch o.Op {
	case opGrow:
		r.Err = l.growTo(l.share(o.N))
	case opShrink:
		l.shrinkTo(l.share(o.N))
	case opRest:
		r.Err = l.pollFor(o.For, never)
	case opStall:
		l.stall(o.N, o.Total)
	case opResume:
		r.Err = l.resume()
	case opSend:
		if r.Err = l.charge(true, func() error { return l.sendAll(o) }); r.Err != nil && !l.cfg.Strict {
			// What did not come is lost. As it does not wait, it has no error.
			_ = l.settle(0)
		}
	case opSettle:
		r.Err = l.charge(false, func() error { return l.settle(o.For) })
	case opStats:
		l.stats.Open = l.open
		r.Stats = newStats()
		r.Stats.add(l.stats)
	case opTally:
		r.Tally = tally(l.part(o.N, o.Total))
	}
	l.publish(clock())
	return r
}

// sendAll sends what is planned when it is due, and serves the connections meanwhile.
func (l *loop) sendAll(o order) error {
	l.begin(o.Plan)
	l.churn = churn{rate: o.Churn, last: l.churn.last}
	for {
		wait, err := l.sendDue()
		if err != nil {
			return err
		}
		if wait < 0 {
			break
		}
		churn, err := l.churnDue()
		if err != nil {
			return err
		}
		if err := l.poll(min(wait, churn)); err != nil {
			return err
		}
	}
	if !o.Await {
		return nil
	}
	err := l.pollUntilNone(func() int { return l.owed })
	if err == ErrStuck {
		return fmt.Errorf("%w: %d deliveries are due", err, l.owed)
	}
	return err
}

// tally counts what became of connections.
func tally(conns []*conn) (t Tally) {
	for _, c := range conns {
		switch {
		case c.owes == 0 && c.lost == 0:
			t.Whole++
		case c.phase == phaseClosed:
			t.Dropped++
		default:
			t.Lacking++
		}
	}
	return t
}
