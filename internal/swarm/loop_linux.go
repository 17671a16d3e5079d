package swarm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var clockStart = time.Now()

// clockBase is what CLOCK_MONOTONIC said at clockStart: the greatest of what several
// readings make of it, as each is too small by the time that it took.
var clockBase = func() time.Duration {
	var base time.Duration
	for i := range 10 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			panic(err) // Every Linux has it.
		}
		if b := time.Duration(t.Nano()) - time.Since(clockStart); i == 0 || b > base {
			base = b
		}
	}
	return base
}()

// Errors of a Swarm.
var (
	// ErrInterrupted is what calls return once the swarm is interrupted.
	ErrInterrupted = errors.New("swarm: interrupted")
	// ErrStuck is returned when nothing came for Config.Patience.
	ErrStuck = errors.New("swarm: nothing came any more")

	errClosed = errors.New("closed by the server")
)

// loop is connections on one epoll. One goroutine may use it, except where it says
// otherwise.
type loop struct {
	// Immutable after construction.
	cfg    *Config
	id, of int // of all loops of the swarm
	epfd   int
	wakefd int // an eventfd, which ends waiting

	// The connections, and per connection and sender the sequence number that is due.
	conns   []*conn
	due     []uint64
	open    int // connections that are greeted
	owed    int // deliveries that are due to open connections that read
	pending int // connections that are being made

	// The messages.
	plan   schedule
	next   int // the number of the next message to send
	frames []byte
	early  []early
	ledger ledger
	churn  churn

	inflater inflater

	stats     *Stats
	sending   time.Duration // CPU while messages were sent, of what stats has in all
	published time.Duration // by clock: when progress was written last
	events    [512]unix.EpollEvent
	buf       []byte
	readAt    time.Duration // by clock: of what is in buf, if timed

	// Atomic: written by any goroutine, read by the loop.
	interrupted atomic.Bool
	// Atomic: written by the loop, read by any goroutine.
	progress atomic.Pointer[Counts]
}

// newLoop returns a loop without connections.
func newLoop(cfg *Config, id, of int) (*loop, error) {
	pattern() // Made once, and not when a process starts that never needs it.
	l := &loop{cfg: cfg, id: id, of: of, stats: newStats(), buf: make([]byte, 256<<10)}
	l.progress.Store(&Counts{})
	var err error
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(l.epfd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeIndex}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, l.wakefd, &e); err != nil {
		l.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

// wakeIndex stands for the eventfd where others have the connection's index.
const wakeIndex = -1

// close ends all connections with RST.
func (l *loop) close() {
	l.shrinkTo(0)
	_ = unix.Close(l.wakefd)
	_ = unix.Close(l.epfd)
}

// wake ends the loop's waiting. Any goroutine may call it.
func (l *loop) wake() {
	one := uint64(1)
	// It fails only where the counter is full, and then the loop wakes all the same.
	_, _ = unix.Write(l.wakefd, (*[8]byte)(unsafe.Pointer(&one))[:])
}

// interrupt makes what the loop does return ErrInterrupted, now and later. Any
// goroutine may call it.
func (l *loop) interrupt() {
	l.interrupted.Store(true)
	l.wake()
}

// global returns the number of the i-th connection among those of all loops.
func (l *loop) global(i int) int { return i*l.of + l.id }

// share returns how many of the first n connections are this loop's.
func (l *loop) share(n int) int { return max(0, n-l.id+l.of-1) / l.of }

// part returns this loop's of the connections from one number to before another, as far
// as they were made.
func (l *loop) part(from, to int) []*conn {
	end := min(l.share(to), len(l.conns))
	return l.conns[min(l.share(from), end):end]
}

// poll handles what is ready, and waits for it up to a time.
func (l *loop) poll(wait time.Duration) error {
	if l.interrupted.Load() {
		return ErrInterrupted
	}
	n, err := epollPwait2(l.epfd, l.events[:], wait)
	if err != nil {
		return os.NewSyscallError("epoll_pwait2", err)
	}
	for _, e := range l.events[:n] {
		if e.Fd == wakeIndex {
			_, _ = unix.Read(l.wakefd, l.buf[:8])
			continue
		}
		if err := l.ready(int(e.Fd), e.Events); err != nil {
			return err
		}
	}
	if now := clock(); now-l.published > progressInterval {
		l.publish(now)
	}
	return nil
}

// progressInterval is how often a loop tells how far it is.
const progressInterval = 100 * time.Millisecond

func (l *loop) publish(now time.Duration) {
	l.published = now
	counts := l.stats.Counts
	counts.Open = l.open
	l.progress.Store(&counts)
}

// pollUntilNone polls until nothing is left of something, for as long as it gets less.
// That alone is a step forward: pings come for ever.
func (l *loop) pollUntilNone(left func() int) error {
	least, step := left(), clock()
	for least > 0 {
		if err := l.poll(min(time.Second, l.cfg.Patience)); err != nil {
			return err
		}
		now := clock()
		if n := left(); n < least {
			least, step = n, now
		} else if now-step > l.cfg.Patience {
			return ErrStuck
		}
	}
	return nil
}

// pollFor polls for a time, or until something holds.
func (l *loop) pollFor(d time.Duration, holds func() bool) error {
	for end := clock() + d; !holds(); {
		wait := end - clock()
		if wait <= 0 {
			return nil
		}
		if err := l.poll(wait); err != nil {
			return err
		}
	}
	return nil
}

func never() bool { return false }

// ready handles the events of one connection.
func (l *loop) ready(i int, events uint32) error {
	// Closed by an earlier event of the batch, or open on in a process that was forked
	// and does not run its program yet: the events of its sockets still come here.
	if i >= len(l.conns) || l.conns[i].phase == phaseClosed {
		return nil
	}
	c := l.conns[i]
	if events&unix.EPOLLOUT != 0 {
		if c.phase == phaseConnect {
			c.phase = phaseUpgrade
			c.outbox = append(c.outbox, request(l.cfg.Host, l.cfg.Path, l.cfg.Deflate)...)
		}
		if err := c.flush(); err != nil {
			return l.dropped(i, err)
		}
	}
	if events&^unix.EPOLLOUT == 0 || c.paused {
		return nil
	}
	return l.drain(i, events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
}

// drain reads a connection's socket until it is empty; with ended, until its end, which
// epoll reports only once.
func (l *loop) drain(i int, ended bool) error {
	c := l.conns[i]
	// A server that sends without end does not keep the loop from being interrupted.
	for c.phase != phaseClosed && !l.interrupted.Load() {
		n, ok, err := read(int(c.fd), l.buf)
		if err != nil {
			return l.dropped(i, err)
		}
		if !ok {
			return nil
		}
		if n == 0 {
			return l.dropped(i, errClosed)
		}
		if l.cfg.Timed {
			l.readAt = clock()
		}
		if err := l.received(i, l.buf[:n]); err != nil {
			return err
		}
		if n < len(l.buf) && !ended {
			return nil
		}
	}
	return nil
}

// received handles bytes that came to a connection.
func (l *loop) received(i int, b []byte) error {
	c := l.conns[i]
	if c.phase == phaseUpgrade {
		rest, whole, err := l.greet(c, b)
		if err != nil {
			return l.dropped(i, err)
		}
		if !whole {
			return nil
		}
		b = rest
	}
	for c.phase == phaseOpen {
		e, rest, err := c.reader.next(b)
		if err != nil {
			return l.dropped(i, err)
		}
		if e == eventNone {
			return nil
		}
		if err := l.event(i, e); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// event handles what a connection's reader found.
func (l *loop) event(i int, e event) error {
	c := l.conns[i]
	switch e {
	case eventMessage:
		if int(c.reader.size) != l.cfg.Size {
			return l.corrupted(i)
		}
		return l.deliver(i, c.reader.current)
	case eventDamaged:
		return l.corrupted(i)
	case eventPing:
		l.stats.Pings++
		if len(c.outbox) > maxUnread {
			return nil
		}
		return l.send(c, append([]byte{0x8a, 0x80 | byte(len(c.reader.control)), 0, 0, 0, 0}, c.reader.control...))
	case eventClose:
		return l.dropped(i, closeError(c.reader.control))
	}
	return nil
}

// maxUnread is how much a server may leave unread and have its pings answered. Of
// several, only the last one must be, RFC 6455, section 5.5.3.
const maxUnread = 1 << 20

// send writes frames to an open connection, which keeps a copy of what the socket does
// not take.
func (l *loop) send(c *conn, b []byte) error {
	if len(c.outbox) == 0 {
		n, _, err := write(int(c.fd), b)
		if err != nil {
			return l.dropped(int(c.index), err)
		}
		b = b[n:]
	}
	if len(c.outbox)+len(b) > maxOutbox {
		return fmt.Errorf("swarm: connection %d has %d bytes to send that the server does not read", l.global(int(c.index)), len(c.outbox))
	}
	c.outbox = append(c.outbox, b...)
	return nil
}

// maxOutbox bounds what waits to be sent by one connection.
const maxOutbox = 256 << 20

// charge adds what the loop's thread uses while f runs, and if it is sending, how much of
// the time that is.
func (l *loop) charge(sending bool, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// What is due is sent on time, prctl(2); where that fails, up to 50 us late.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	cpu, start := threadCPU(), clock()
	err := f()
	used, wall := threadCPU()-cpu, clock()-start
	l.stats.CPU += used
	if sending {
		l.sending += used
		l.stats.Wall += wall
		l.stats.Busy = float64(l.sending) / float64(max(l.stats.Wall, 1))
	}
	return err
}

// threadCPU returns the time that this thread was on a core.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // Every Linux has it.
	}
	return time.Duration(t.Nano())
}

// epollPwait2 wraps epoll_pwait2(2), which waits with more than a millisecond's
// resolution and is in Linux from 5.11 on. An interrupted call returns nothing.
func epollPwait2(epfd int, events []unix.EpollEvent, wait time.Duration) (int, error) {
	t := unix.NsecToTimespec(int64(max(wait, 0)))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epfd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&t)), 0, 0)
	runtime.KeepAlive(&t)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	case unix.ENOSYS:
		// Rounded down: late is worse than spinning for the last millisecond.
		n, err := unix.EpollWait(epfd, events, int(wait/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			return 0, nil
		}
		return n, err
	}
	return 0, errno
}
