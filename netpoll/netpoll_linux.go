package netpoll

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"

	epoll "github.com/mailru/easygo/netpoll"
	"golang.org/x/sys/unix"
)

// Events is a set of epoll_ctl(2) event bits.
type Events = epoll.EpollEvent

// The events a registration may ask for or be told about, see epoll_ctl(2).
const (
	// Readable: data or, on a listener, a connection is waiting.
	Readable Events = epoll.EPOLLIN
	// Writable: there is room in the socket's send buffer.
	Writable Events = epoll.EPOLLOUT
	// ReadHangup: the peer has shut down its writing side or all of it.
	ReadHangup Events = epoll.EPOLLRDHUP
	// Hangup: both directions are shut down. Always reported, never asked for.
	Hangup Events = epoll.EPOLLHUP
	// Error: an error is pending on the fd. Always reported, never asked for.
	Error Events = epoll.EPOLLERR
	// EdgeTriggered: report a change once instead of as long as it lasts.
	EdgeTriggered Events = epoll.EPOLLET
	// Closed: the Poller was closed. Each remaining registration gets it once, on the goroutine that called Close.
	Closed Events = 0x20
)

// Errors returned by a Poller.
var (
	// ErrClosed: the Poller has been closed.
	ErrClosed = errors.New("netpoll: poller is closed")
	// ErrRegistered: Add was called for an fd that is already registered.
	ErrRegistered = errors.New("netpoll: fd is already registered")
	// ErrNotRegistered: Del was called for an fd that is not registered.
	ErrNotRegistered = errors.New("netpoll: fd is not registered")
)

// Config has the settings of a Poller. The zero value is ready to use.
type Config struct {
	// Loops is the number of epoll instances. Defaults to one for four processors, which is ample for callbacks that
	// only pass work on.
	Loops int

	// OnError is called, on the loop's goroutine, when epoll_wait(2) fails for good. The kernel does that only for a
	// broken invariant, such as a closed epoll fd. Defaults to a panic, because no fd of that loop would get events
	// any more.
	OnError func(error)
}

// Poller watches file descriptors. Make one with Open.
type Poller struct {
	loops []*loop // Immutable after construction.
}

// loop is one epoll instance.
type loop struct {
	// Immutable after construction.
	ep   *epoll.Epoll
	wake int // An eventfd(2), whose callback is woken.

	mu      sync.Mutex
	retired []int // Guarded by mu: deleted fds that the loop has to close.
	spare   []int // Owned by the loop: the other buffer for retired.
	closed  bool  // Guarded by mu: the wait goroutine has ended.

	yield    atomic.Bool       // Written by Yield, taken by woken.
	runnable [1]metrics.Sample // Owned by the loop: how many goroutines wait for a processor.
}

// Open starts the loops. The caller must Close the Poller. Open fails if the process or the system has run out of fds
// (EMFILE, ENFILE) or memory (ENOMEM).
func Open(cfg Config) (*Poller, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = (runtime.GOMAXPROCS(0) + 3) / 4
	}
	if cfg.OnError == nil {
		cfg.OnError = func(err error) { panic(fmt.Sprintf("netpoll: epoll_wait: %v", err)) }
	}
	p := &Poller{}
	for range cfg.Loops {
		l, err := newLoop(cfg.OnError)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.loops = append(p.loops, l)
	}
	return p, nil
}

func newLoop(onError func(error)) (*loop, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("netpoll: eventfd: %w", err)
	}
	ep, err := epollCreate(onError)
	if err != nil {
		unix.Close(wake)
		return nil, fmt.Errorf("netpoll: epoll_create: %w", err)
	}
	l := &loop{ep: ep, wake: wake}
	l.runnable[0].Name = "/sched/goroutines/runnable:goroutines"
	// Edge-triggered, so that the counter need not be read back to zero.
	if err := ep.Add(wake, Readable|EdgeTriggered, l.woken); err != nil {
		ep.Close()
		unix.Close(wake)
		return nil, fmt.Errorf("netpoll: epoll_ctl: %w", err)
	}
	return l, nil
}

// epollCreate makes an easygo Epoll and marks its two fds close-on-exec, which easygo omits. The fork lock keeps a
// child from inheriting them in between.
func epollCreate(onError func(error)) (*epoll.Epoll, error) {
	// If the process can open only one more fd, easygo leaks it. So check that there is room for two.
	var room [2]int
	if err := unix.Pipe2(room[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	unix.Close(room[0])
	unix.Close(room[1])

	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ep, err := epoll.EpollCreate(&epoll.EpollConfig{OnWaitError: onError})
	if err != nil {
		return nil, err
	}
	v := reflect.ValueOf(ep).Elem()
	for _, name := range []string{"fd", "eventFd"} {
		unix.CloseOnExec(int(v.FieldByName(name).Int()))
	}
	return ep, nil
}

func (p *Poller) loop(fd int) *loop { return p.loops[uint(fd)%uint(len(p.loops))] }

// Add registers fd, which should be non-blocking, and takes it over: after a nil error the fd belongs to the Poller,
// and only Del closes it. cb is called on the loop's goroutine for each event, possibly before Add has returned. Add
// does not wait for cb.
//
// After an error nothing is registered and fd still belongs to the caller. The error is ErrClosed, ErrRegistered, or an
// error of epoll_ctl(2): ENOMEM, ENOSPC, EPERM, EBADF.
func (p *Poller) Add(fd int, events Events, cb func(Events)) error {
	l := p.loop(fd)
	err := l.ep.Add(fd, events, cb)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, epoll.ErrClosed):
		return ErrClosed
	case errors.Is(err, epoll.ErrRegistered):
		return fmt.Errorf("%w: %d", ErrRegistered, fd)
	}
	// easygo keeps the callback although epoll_ctl failed.
	_ = l.ep.Del(fd)
	return fmt.Errorf("netpoll: epoll_ctl: add fd %d: %w", fd, err)
}

// Del ends fd's registration, and the loop closes fd soon after; the package comment has the guarantees. Del does not
// wait for the close(2), and may be called from a callback. It returns ErrNotRegistered if fd is not registered.
// After Close, Del closes fd at once and returns nil.
func (p *Poller) Del(fd int) error {
	l := p.loop(fd)
	// easygo deletes its entry even when epoll_ctl fails, so an error from the
	// kernel (EBADF, ENOENT: the fd is out of the set) leaves nothing to undo.
	if err := l.ep.Del(fd); errors.Is(err, epoll.ErrNotRegistered) {
		return fmt.Errorf("%w: %d", ErrNotRegistered, fd)
	}
	l.retire(fd)
	return nil
}

func (l *loop) retire(fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		unix.Close(fd)
		return
	}
	l.retired = append(l.retired, fd)
	if len(l.retired) == 1 {
		l.wakeUp()
	}
}

// wakeUp makes the loop call woken after the events that it has in hand.
func (l *loop) wakeUp() {
	// Eight bytes in the machine's order, see eventfd(2). It cannot fail: the counter can hold 2^64-2.
	one := [8]byte{1}
	_, _ = unix.Write(l.wake, one[:])
}

// Yield is for callbacks of fd that have made another goroutine runnable. After the events that it has in hand, the
// loop lets other goroutines run before it waits again. With GOMAXPROCS 1, it polls instead of waiting for as long as
// a goroutine is runnable. Without Yield, that goroutine might have to wait until Go's scheduler notices that the
// loop is blocked in epoll_wait(2), which takes 20 us to 10 ms on a busy machine. Yield does not block.
func (p *Poller) Yield(fd int) { p.loop(fd).yieldSoon() }

func (l *loop) yieldSoon() {
	if !l.yield.Swap(true) {
		l.wakeUp()
	}
}

// woken is the callback of l.wake.
func (l *loop) woken(Events) {
	l.closeRetired()
	if !l.yield.Swap(false) {
		return
	}
	runtime.Gosched()
	// With more processors, another one steals the goroutine that waits here, and polling would keep this processor
	// from stealing.
	if runtime.GOMAXPROCS(0) == 1 && l.runnableWaits() {
		l.yieldSoon()
	}
}

// runnableWaits reports whether a goroutine is runnable and does not run.
func (l *loop) runnableWaits() bool {
	metrics.Read(l.runnable[:])
	return l.runnable[0].Value.Uint64() > 0
}

// closeRetired closes the fds that Del has retired. It runs in a callback, so all events of the current batch have been
// matched with their callbacks.
func (l *loop) closeRetired() {
	l.mu.Lock()
	fds := l.retired
	l.retired = l.spare[:0]
	l.mu.Unlock()
	for _, fd := range fds {
		unix.Close(fd)
	}
	l.spare = fds
	if cap(fds) > 4096 { // Free the memory of a mass disconnect.
		l.spare = nil
	}
}

// Close stops the loops, waits until no callback runs any more, and then calls each remaining callback with Closed.
// Their fds stay open and belong to the callers again: Del closes them. A second Close returns ErrClosed.
func (p *Poller) Close() error {
	var errs []error
	for _, l := range p.loops {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

func (l *loop) close() error {
	if err := l.ep.Close(); err != nil {
		if errors.Is(err, epoll.ErrClosed) {
			return ErrClosed
		}
		return fmt.Errorf("netpoll: close: %w", err)
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.closeRetired()
	return unix.Close(l.wake)
}
