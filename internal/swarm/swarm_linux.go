package swarm

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Swarm is the connections to one broadcaster. Its calls block until they have done what
// they say; one goroutine at a time may make them, except for Progress and Interrupt.
// With one loop in all, the connections are served (pings answered, messages read) only
// while a call runs, on the caller's thread.
//
// After an error the swarm is good for Stats, Tally and Close only.
type Swarm struct {
	cfg  Config
	size int // connections that were asked for
	sent int // messages that were asked for

	// mu keeps Close from ending members while Progress or Interrupt use them.
	mu      sync.Mutex
	members []member
}

// member is a part of a swarm: a loop here, on a thread of its own or not, or a whole
// swarm in a child process.
type member interface {
	do(order) reply
	counts() Counts
	interrupt()
	close()
}

// New returns a swarm without connections. The error says all that is wrong with the
// configuration, or is that of a system call.
func New(cfg Config) (*Swarm, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	processes := (cfg.Conns + cfg.PerProcess - 1) / cfg.PerProcess
	if processes > 1 {
		// Not more threads in all than were asked for, but one in each process.
		cfg.Threads = max(1, cfg.Threads/processes)
		return startProcesses(cfg, processes)
	}
	return newLocal(cfg, 0, cfg.Threads)
}

// newLocal returns a swarm of cfg.Threads loops in this process, of so many in all. With
// several processes each has every so-manieth from first on, so that none has more than
// one connection more than others.
func newLocal(cfg Config, first, of int) (*Swarm, error) {
	s := &Swarm{cfg: cfg}
	for id := first; id < of; id += of / cfg.Threads {
		l, err := newLoop(&s.cfg, id, of)
		switch {
		case err != nil:
			s.Close()
			return nil, err
		case of == 1:
			s.members = append(s.members, l)
		default:
			s.members = append(s.members, startThread(l))
		}
	}
	return s, nil
}

// Close ends all connections with RST and frees what the swarm holds. Only Close,
// Progress and Interrupt may follow, and do nothing.
func (s *Swarm) Close() {
	s.mu.Lock()
	members := s.members
	s.members = nil
	s.mu.Unlock()
	for _, m := range members {
		m.close()
	}
}

// do gives all members an order and merges their replies. Once one has failed, the
// others are interrupted.
func (s *Swarm) do(o order) reply {
	if len(s.members) == 1 {
		return s.members[0].do(o)
	}
	replies := make([]reply, len(s.members))
	var all sync.WaitGroup
	for i, m := range s.members {
		// Each ends with its member's reply; Wait waits for them.
		all.Go(func() {
			replies[i] = m.do(o)
			if replies[i].Err != nil {
				s.Interrupt()
			}
		})
	}
	all.Wait()
	sum := replies[0]
	for _, r := range replies[1:] {
		sum.add(r)
	}
	return sum
}

// Grow makes connections until there are n, at most Config.Conns, and returns when all
// are greeted. An error says how many there were. Those that the server closed before
// are not replaced. A message that is under way still ([Swarm.Settle] waits for all) and
// comes to a new connection counts as duplicated.
func (s *Swarm) Grow(n int) error {
	s.size = min(n, s.cfg.Conns)
	if err := s.do(order{Op: opGrow, N: s.size}).Err; err != nil {
		return fmt.Errorf("with %d of %d connections: %w", s.Progress().Open, s.size, err)
	}
	return nil
}

// Shrink ends all connections but the first n, with RST.
func (s *Swarm) Shrink(n int) error {
	s.size = min(n, s.size)
	return s.do(order{Op: opShrink, N: s.size}).Err
}

// Rest serves the connections for a time.
func (s *Swarm) Rest(d time.Duration) error { return s.do(order{Op: opRest, For: d}).Err }

// Stall makes the last n connections stop reading. The senders among them send on.
func (s *Swarm) Stall(n int) error {
	return s.do(order{Op: opStall, N: min(n, s.size), Total: s.size}).Err
}

// Resume makes all connections read again.
func (s *Swarm) Resume() error { return s.do(order{Op: opResume}).Err }

// Load is a number of messages in open loop: when each is due does not depend on what
// the server does.
type Load struct {
	// Messages is how many are sent in all.
	Messages int
	// Rate is how many are due in a second; more than 0.
	Rate float64
	// Burst is how many are due at the same time. Defaults to 1.
	Burst int
	// Churn is how many connections are ended and made again in a second, meanwhile.
	Churn float64
}

// Send sends messages in open loop and returns when all are sent. [Swarm.Settle] waits
// for their deliveries.
func (s *Swarm) Send(l Load) error {
	if l.Messages < 0 || !(l.Rate > 0) || !(l.Churn >= 0) {
		return fmt.Errorf("swarm: a load of %d messages at a rate of %v with a churn of %v", l.Messages, l.Rate, l.Churn)
	}
	burst := max(l.Burst, 1)
	o := order{Op: opSend, Churn: l.Churn, Plan: s.plan(l.Messages, burst)}
	o.Plan.Interval = time.Duration(float64(burst) / l.Rate * float64(time.Second))
	return s.do(o).Err
}

// Broadcast sends n messages at once, each sender's in one write, and returns when all
// connections that read have all of them: closed loop.
func (s *Swarm) Broadcast(n int) error {
	return s.do(order{Op: opSend, Await: true, Plan: s.plan(n, max(n, 1))}).Err
}

// plan returns a schedule for the next n messages, from now on.
func (s *Swarm) plan(n, burst int) schedule {
	p := schedule{First: s.sent, Total: n, Burst: burst, Start: clock()}
	s.sent += n
	return p
}

// Settle waits until the connections that read have all that was sent, up to a time.
// What they do not have by then counts as lost.
func (s *Swarm) Settle(patience time.Duration) error {
	return s.do(order{Op: opSettle, For: patience}).Err
}

// Stats returns what became of connections and messages so far.
func (s *Swarm) Stats() (*Stats, error) {
	r := s.do(order{Op: opStats})
	return r.Stats, r.Err
}

// Tally counts the connections with numbers from one to before another by what became
// of the messages that were due to them so far.
func (s *Swarm) Tally(from, to int) (Tally, error) {
	r := s.do(order{Op: opTally, N: from, Total: to})
	return r.Tally, r.Err
}

// Progress returns the counts as of a moment ago. Any goroutine may call it.
func (s *Swarm) Progress() (sum Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		sum.add(m.counts())
	}
	return sum
}

// Interrupt makes the call that runs return ErrInterrupted, and later ones that would
// wait. Any goroutine may call it.
func (s *Swarm) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		m.interrupt()
	}
}

// counts is the progress of a loop.
func (l *loop) counts() Counts { return *l.progress.Load() }

// thread is a loop on a thread of its own.
type thread struct {
	*loop
	orders  chan order // closed by close
	replies chan reply
}

// startThread starts the thread, which ends with close.
func startThread(l *loop) *thread {
	t := &thread{loop: l, orders: make(chan order, 1), replies: make(chan reply)}
	// Stopped by close, which waits for it.
	go t.run()
	return t
}

// run does what is ordered, and serves the connections in between.
func (t *thread) run() {
	// Not unlocked: the thread ends with the goroutine.
	runtime.LockOSThread()
	defer close(t.replies)
	var failed error // between orders
	for {
		if failed == nil {
			select {
			case o, ok := <-t.orders:
				if !ok {
					return
				}
				t.replies <- t.loop.do(o)
			default:
				failed = t.poll(time.Second)
			}
			continue
		}
		o, ok := <-t.orders
		if !ok {
			return
		}
		if o.Op == opStats || o.Op == opTally {
			t.replies <- t.loop.do(o)
		} else {
			t.replies <- reply{Err: failed}
		}
	}
}

func (t *thread) do(o order) reply {
	t.orders <- o
	t.wake()
	return <-t.replies
}

func (t *thread) close() {
	close(t.orders)
	t.wake()
	<-t.replies
	t.loop.close()
}
