package cluster

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watcher is what watch knows: it looks now and then how the stream is, and whether the reader gets what is in it.
type watcher struct {
	c *Cluster

	was *jetstream.StreamInfo // The last answer, or nil.
	at  time.Time             // When that was asked for.

	failing time.Time // Since when the stream does not answer, or has no majority; zero if it does.
	missing time.Time // Since when NATS says that there is no such stream; zero if it does not.
	moved   time.Time // When it was tried to reach the stream by another server of NATS.

	delivered  uint64    // How far the reader was when it was seen to get on last, or to have all there is.
	progressed time.Time // When that was.
	asked      time.Time // When the first marker was put into the stream since, to see whether it gets on.
	begun      time.Time // When it was made to begin anew.
}

// watch looks whether the stream is the one that it was, as the consumer would wait in another one for what comes next; whether it
// answers; and whether the reader gets on. And it sees to it that who gets only a part of the stream does not take what was dropped for
// its own.
func (c *Cluster) watch() {
	w := &watcher{c: c, delivered: c.delivered.Load(), progressed: time.Now()}
	timer := time.NewTimer(c.lookAfter(nil, nil, 0))
	defer timer.Stop()
	ahead, listen := c.ahead, (<-chan time.Time)(nil)
	for {
		select {
		case <-timer.C:
		case <-c.doubt:
		case <-ahead: // One marker is for all who ask in the meantime.
			c.nudge()
			ahead, listen = nil, time.After(100*time.Millisecond)
			continue
		case <-listen:
			ahead = c.ahead
			continue
		case <-c.ctx.Done():
			return
		}
		after, err := w.look()
		if err != nil {
			c.fail(err)
			return
		}
		timer.Reset(after)
	}
}

// look looks once, and says when to look again. An error is that this server cannot go on.
func (w *watcher) look() (after time.Duration, err error) {
	c := w.c
	if c.unheard.Swap(false) { // It may be permitted again: nats.go subscribes anew only when it comes back.
		_ = c.nc.ForceReconnect()
	}
	at, delivered := time.Now(), c.delivered.Load()
	info, err := c.info(c.ctx)
	if w.answered(err == nil && majority(info.Cluster), at) {
		w.backAgain(info.State.LastSeq)
	}
	if err == nil && info.State.LastSeq < delivered { // Or who leads the stream is behind.
		if place, err := c.mark(c.ctx); err == nil {
			c.placed(place, delivered)
		}
	}
	back := c.back.Load()
	switch {
	case errors.Is(err, ErrReplaced):
		return 0, err
	case w.gone(err, at):
		return 0, ErrDeleted
	case err == nil && back != nil:
		return 0, *back
	case err != nil:
		return min(c.lookAfter(w.was, nil, 0), time.Second), nil
	}
	if c.delivered.Load() < info.State.LastSeq && !c.far(info) && c.interest.filters() != nil {
		c.nudge()
	}
	after = c.lookAfter(w.was, info, at.Sub(w.at))
	w.listens(info.State.LastSeq)
	w.was, w.at = info, at
	return after, nil
}

// gone says whether an answer is that there is no such stream, and has been for twice Config.Timeout: for a moment NATS may say so
// while it starts.
func (w *watcher) gone(err error, at time.Time) bool {
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		w.missing = time.Time{}
		return false
	}
	if w.missing.IsZero() {
		w.missing = at
	}
	return at.Sub(w.missing) >= 2*w.c.cfg.Timeout
}

// answered notes whether the stream has answered, with a majority, at a time, and says whether it does. Only if it has not for twice
// Config.Timeout it is silent: while it gets another leader, which takes NATS some seconds, all servers would not be ready at once.
func (w *watcher) answered(does bool, at time.Time) bool {
	c := w.c
	switch {
	case does:
		w.failing = time.Time{}
	case w.failing.IsZero():
		w.failing = at
	}
	silent := !does && time.Since(w.failing) >= 2*c.cfg.Timeout
	if c.silent.Swap(silent) != silent {
		c.out.weigh()
	}
	if silent {
		c.upTo.Store(unknown)
	}
	if patience := 3 * c.cfg.Timeout; silent && c.connected.Load() && at.Sub(w.failing) > patience && at.Sub(w.moved) > patience {
		w.moved = at // It may be cut off from the others, which may be well.
		_ = c.nc.ForceReconnect()
	}
	return does
}

// unknown is no place in the stream.
const unknown = math.MaxUint64

// backAgain sees to it, when the stream answers again, that the reader begins anew, rather than when it misses its consumer, and that
// this server is ready only when it has read all there is now, up to last.
func (w *watcher) backAgain(last uint64) {
	c := w.c
	if c.upTo.Load() != unknown {
		return
	}
	outages := c.outages.Load()
	if c.interest.filters() != nil { // The last one may not be for this server.
		place, err := c.mark(c.ctx)
		if err != nil {
			return
		}
		last = place
	}
	if c.upTo.Store(last); c.outages.Load() != outages { // It was lost again meanwhile.
		c.upTo.Store(unknown)
	}
	w.progressed = time.Now()
	c.beginAnew(errBack)
}

// markEvery is how often a server that gets what it should puts a marker there to see that. Those of others make it look as if
// there were something for it.
const markEvery = time.Minute

// listens notes whether the reader gets what is in the stream, up to last, and has it begin anew if it does not: a consumer may be at
// a server of NATS that has got stuck. If nothing has come for a while, a marker is put there to see that.
func (w *watcher) listens(last uint64) {
	c, now, timeout := w.c, time.Now(), w.c.cfg.Timeout
	is := c.delivered.Load()
	if is != w.delivered || is >= last {
		w.delivered, w.progressed = is, now
	}
	upTo := c.upTo.Load()
	owed := c.interest.filters() == nil || c.cold() || is < upTo && upTo != unknown // What there is, some of it is for this server.
	waits := w.asked.After(w.progressed)
	if now.Sub(w.progressed) > timeout && (waits || owed || now.Sub(w.asked) > markEvery) {
		if !waits {
			w.asked = now
		}
		c.nudge() // Again, as it may get lost. The loss of a message on its way here is noticed when something comes behind it.
	}
	waited := now.Sub(w.asked)
	c.deaf.Store(waits && waited > 2*timeout)
	if waits && waited > timeout && now.Sub(w.begun) > timeout {
		w.begun = now
		c.beginAnew(errStuck)
	}
}

// Why a server is not ready, of a Cluster and of a Fast. docs/operations.md says what to do.
var (
	errNotReachable = errors.New("NATS is not reachable")
	errSilent       = errors.New("the stream does not answer: has NATS a majority?")
	errDeaf         = errors.New("what is in the stream does not come: may crier have a consumer?")
	errNotYet       = errors.New("NATS is back, and what came meanwhile is not here yet")
	errRefused      = errors.New("NATS refuses what this server subscribes to: may it do so?")
)

// Why the reader begins anew.
var (
	errBack  = errors.New("NATS is back")
	errStuck = errors.New("nothing comes of what there is")
)

// beginAnew has the reader make another consumer.
func (c *Cluster) beginAnew(why error) {
	if cancel := c.reading.Load(); cancel != nil {
		(*cancel)(why)
	}
}

// lookAfter is when watch is to look again: if the stream drops messages, in an eighth of the time in which it drops as much as it
// has, going by what it has dropped between the last two looks. They may be nil.
func (c *Cluster) lookAfter(was, is *jetstream.StreamInfo, between time.Duration) time.Duration {
	after := c.cfg.Timeout
	if c.maxAge > 0 {
		after = min(after, c.maxAge/8)
	}
	if c.cfg.Channels && (is == nil || is.Config.MaxBytes > 0 || is.Config.MaxMsgs > 0) {
		after = min(after, time.Second)
	}
	if was != nil && is != nil && is.State.FirstSeq > was.State.FirstSeq {
		has, dropped := is.State.LastSeq+1-is.State.FirstSeq, is.State.FirstSeq-was.State.FirstSeq
		after = min(after, time.Duration(float64(between)*float64(has)/float64(dropped)/8))
	}
	return max(after, 100*time.Millisecond)
}

// majority says whether the stream has a leader that has heard of most who have it within ten seconds, which is how long NATS
// itself takes to see that it has not: without one, another server answers all the same. of is nil of a server that is alone.
func majority(of *jetstream.ClusterInfo) bool {
	if of == nil {
		return true
	}
	there := 1
	for _, replica := range of.Replicas {
		if !replica.Offline && replica.Active < 10*time.Second {
			there++
		}
	}
	return of.Leader != "" && there > (len(of.Replicas)+1)/2
}

// far says whether what comes next here is far from being dropped: not in the older half of what the stream keeps.
func (c *Cluster) far(info *jetstream.StreamInfo) bool {
	next, cfg, state := c.delivered.Load()+1, &info.Config, &info.State
	if cfg.MaxAge > 0 && info.TimeStamp.Sub(time.Unix(0, c.deliveredAt.Load())) > cfg.MaxAge/2 { // Both by NATS' clock.
		return false
	}
	return cfg.MaxBytes <= 0 && cfg.MaxMsgs <= 0 && next >= state.FirstSeq || next >= state.FirstSeq+(state.LastSeq+1-state.FirstSeq)/2
}

// placed is told what place the stream gave to something that was sent when the reader was at another one.
func (c *Cluster) placed(place, delivered uint64) {
	if place > delivered {
		return
	}
	err := fmt.Errorf("%w: a message became its %d., and this server has got %d", ErrWentBack, place, delivered)
	c.back.CompareAndSwap(nil, &err)
	c.doubt.ring()
}

// fail says that this server cannot go on.
func (c *Cluster) fail(err error) {
	select {
	case c.failed <- err:
	default: // It was said.
	}
}
