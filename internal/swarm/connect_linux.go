package swarm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxInFlight bounds the connections that a loop makes at one time.
const maxInFlight = 256

// maxHead bounds the response to an opening handshake.
const maxHead = 64 << 10

// phase is how far a connection is.
type phase uint8

const (
	phaseConnect phase = iota // connect(2) is under way
	phaseUpgrade              // the request is sent
	phaseOpen                 // greeted
	phaseClosed               // ended, by whom ever
)

// conn is one connection.
type conn struct {
	index   int32 // among the loop's
	fd      int32
	phase   phase
	paused  bool          // does not read; only if open
	joining bool          // joined while messages were under way: which are due is not known
	lost    int32         // messages that were due and did not come
	since   time.Duration // by clock: connect(2), then the greeting
	owes    int           // messages that are due and may come yet
	reader  frameReader
	head    []byte // what came of the response so far
	outbox  []byte // what the socket did not take
}

// growTo adds connections until there are n, and returns when all are greeted.
func (l *loop) growTo(n int) error {
	var failed error
	err := l.pollUntilNone(func() int {
		for len(l.conns) < n && l.pending < maxInFlight && failed == nil {
			failed = l.add()
		}
		if failed != nil {
			return 0
		}
		return max(n-len(l.conns), 0) + l.pending
	})
	if err == ErrStuck && l.upgraded() {
		err = fmt.Errorf("%w: the server upgraded, but did not send the first message %q", err, l.cfg.Greeting)
	}
	return cmp.Or(failed, err)
}

// upgraded tells whether a connection has its response, and waits for the greeting.
func (l *loop) upgraded() bool {
	return slices.ContainsFunc(l.conns, func(c *conn) bool { return len(c.head) > 0 })
}

// add starts to make one more connection, which is to get what is sent from now on.
func (l *loop) add() error {
	i := len(l.conns)
	l.conns = append(l.conns, &conn{phase: phaseClosed})
	for sender := range l.cfg.Senders {
		l.due = append(l.due, l.seqAt(sender, l.plan.end()))
	}
	return l.connect(i)
}

// shrinkTo ends all connections but the first n.
func (l *loop) shrinkTo(n int) {
	for i := n; i < len(l.conns); i++ {
		l.end(i)
		l.ledger.forget(i, l.cfg.Senders)
	}
	n = min(n, len(l.conns))
	clear(l.conns[n:])
	l.conns, l.due = l.conns[:n], l.due[:n*l.cfg.Senders]
}

// stall makes the last n connections of the swarm's first total stop reading.
func (l *loop) stall(n, total int) {
	for _, c := range l.part(total-n, total) {
		if c.phase == phaseOpen && !c.paused {
			c.paused = true
			l.owed -= c.owes
		}
	}
}

// resume makes all connections read again, which is also the only way to learn whether
// the server had closed them: its FIN waits behind unread data.
func (l *loop) resume() error {
	for i, c := range l.conns {
		if !c.paused {
			continue
		}
		c.paused = false
		l.owed += c.owes
		if err := l.drain(i, true); err != nil {
			return err
		}
	}
	return nil
}

// connect starts to make the i-th connection.
func (l *loop) connect(i int) error {
	fd, err := dial(l.global(i), l.cfg.Target)
	if err != nil {
		return err
	}
	l.pending++
	*l.conns[i] = conn{index: int32(i), fd: int32(fd), since: clock()}
	if l.cfg.Deflate {
		l.conns[i].reader.z = &gathering{inflater: &l.inflater}
	}
	e := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(i), // the index, not the fd
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &e))
}

// greet reads bytes of the response to the handshake. Once the response is complete it returns what
// follows, and true.
func (l *loop) greet(c *conn, b []byte) (rest []byte, whole bool, err error) {
	c.head = append(c.head, b...)
	rest, whole, err = answer(c.head, l.cfg.Greeting, l.cfg.Deflate)
	if err == nil && !whole && len(c.head) > maxHead {
		err = fmt.Errorf("swarm: the response is longer than %d bytes", maxHead)
	}
	if !whole {
		return nil, false, err
	}
	now := clock()
	l.stats.Connect.record(now-c.since, 1)
	c.head, c.phase, c.since = nil, phaseOpen, now
	l.pending--
	l.open++
	return rest, true, nil
}

// flush writes the outbox as far as the socket takes it.
func (c *conn) flush() error {
	for len(c.outbox) > 0 {
		n, ok, err := write(int(c.fd), c.outbox)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		c.outbox = c.outbox[n:]
	}
	c.outbox = nil
	return nil
}

// dropped takes note that a connection ended that the swarm did not end, which is an
// error if the swarm is strict or the connection was never open.
func (l *loop) dropped(i int, why error) error {
	c := l.conns[i]
	why = fmt.Errorf("connection %d: %w", l.global(i), why)
	if l.cfg.Strict || c.phase != phaseOpen && !c.joining {
		return why
	}
	if l.stats.Error == "" {
		l.stats.Error = why.Error()
	}
	l.stats.Dropped++
	l.end(i)
	return nil
}

// end ends a connection with RST. What it is owed will not come.
func (l *loop) end(i int) {
	c := l.conns[i]
	switch c.phase {
	case phaseClosed:
		return
	case phaseOpen:
		l.open--
		if !c.paused {
			l.owed -= c.owes
		}
	default:
		l.pending--
	}
	c.phase, c.paused = phaseClosed, false
	c.head, c.outbox = nil, nil
	abort(int(c.fd))
}

// closeError says with what a server closed, from the payload of its close frame, RFC
// 6455, section 5.5.1.
func closeError(payload []byte) error {
	if len(payload) < 2 {
		return errClosed
	}
	return fmt.Errorf("%w with %d %q", errClosed, binary.BigEndian.Uint16(payload), payload[2:])
}

// churn renews connections at a steady rate.
type churn struct {
	rate float64 // per second, of all loops
	done int     // in this schedule
	last int     // the index that came last
}

// churnDue ends and makes again as many connections as are due, and returns the time
// until the next. Those that send or do not read stay.
func (l *loop) churnDue() (time.Duration, error) {
	const seldom = time.Second
	c := &l.churn
	if c.rate == 0 || len(l.conns) == 0 {
		return seldom, nil
	}
	due := l.share(int((clock() - l.plan.Start).Seconds() * c.rate))
	for tried := 0; c.done < due && l.pending < maxInFlight && tried < len(l.conns); tried++ {
		c.last = (c.last + 1) % len(l.conns)
		if l.conns[c.last].phase != phaseOpen || l.conns[c.last].paused || l.global(c.last) < l.cfg.Senders {
			continue
		}
		if err := l.renew(c.last); err != nil {
			return 0, err
		}
		c.done++
	}
	next := time.Duration(float64(l.global(c.done)+1) / c.rate * float64(time.Second))
	return max(l.plan.Start+next-clock(), time.Millisecond), nil
}

// renew ends the i-th connection and makes it again. What the old one was owed is
// forgotten, and any message is right as the first for the new one.
func (l *loop) renew(i int) error {
	l.end(i)
	l.ledger.forget(i, l.cfg.Senders)
	for sender := range l.cfg.Senders {
		l.due[i*l.cfg.Senders+sender] = anySeq
	}
	l.stats.Renewed++
	err := l.connect(i)
	l.conns[i].joining = true
	return err
}
