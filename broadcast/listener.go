package broadcast

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// acceptsPerTurn is the greatest number of connections that one turn accepts.
const acceptsPerTurn = 256

// listener accepts connections on a listening socket that epoll watches.
type listener struct {
	turnstile // Atomic.

	// Immutable after construction.
	srv   *Server
	fd    int
	ln    net.Listener // The same socket, as its owner sees it.
	mptcp bool         // Its connections do not inherit all options.

	// Owned by the accepting side.
	reserve int  // An fd kept for shed, or -1.
	each    bool // Accepted connections do not inherit the options: each is set by a call.
}

// Listen listens on a TCP address like ":18000" or "127.0.0.1:0". Without a host, and with "[::]", it listens on all
// addresses of IPv4 and IPv6; with "0.0.0.0", on those of IPv4 only, unlike net.Listen.
//
// Listen switches off Multipath TCP, which Go's listeners offer by default: connections of such a listener do not
// inherit all of its options, so accepting one takes two more system calls.
func Listen(addr string) (net.Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is4() {
			network = "tcp4"
		}
	}
	var cfg net.ListenConfig
	cfg.SetMultipathTCP(false)
	return cfg.Listen(context.Background(), network, addr)
}

// newListener makes a listener with an fd of its own on the socket of ln, and sets the options that accepted
// connections inherit. It takes ln over unless it returns an error.
func newListener(srv *Server, ln net.Listener) (*listener, error) {
	fd, err := dup(ln, "listener")
	if err != nil {
		return nil, err
	}
	l := &listener{srv: srv, ln: ln, fd: fd, each: true, reserve: -1}
	srv.setOptions(l.fd) // Connections that are made from now on inherit the options.
	protocol, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	l.mptcp = err == nil && protocol == unix.IPPROTO_MPTCP
	l.fillReserve()
	return l, nil
}

// dup returns a new non-blocking fd on the socket of a listener or connection of package net. what names the socket
// in errors.
func dup(socket any, what string) (fd int, err error) {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("broadcast: %s %T has no file descriptor; "+
			"want one of TCP or of a Unix socket, as package net makes them", what, socket)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("broadcast: %s: %w", what, err)
	}
	var dupErr error
	if err := raw.Control(func(original uintptr) {
		fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, fmt.Errorf("broadcast: %s: %w", what, err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("broadcast: %s: dup: %w", what, dupErr)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("broadcast: %s: %w", what, err)
	}
	return fd, nil
}

// setOptions sets the options of a socket: tcp(7). The calls fail on a Unix socket, which needs no options.
func (srv *Server) setOptions(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, srv.cfg.UnsentBytes)
}

// fillReserve opens the reserve if it is not open, and reports whether it is open now.
func (l *listener) fillReserve() bool {
	if l.reserve < 0 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fd = -1
		}
		l.reserve = fd
	}
	return l.reserve >= 0
}

// event is the netpoll callback.
func (l *listener) event(ev netpoll.Events) {
	if ev != netpoll.Closed && l.acquire(0) {
		l.srv.queue.push(l)
		l.srv.poller.Yield(l.fd)
	}
}

// turn accepts until there is nothing more to accept or the turn is over.
func (l *listener) turn(*worker) {
	for range acceptsPerTurn {
		if l.has(closed) {
			l.release()
			return
		}
		if !l.accept() && l.relinquish() {
			return
		}
	}
	l.srv.queue.push(l)
}

// panicked implements task. No hook runs in a turn of a listener, so a panic is a fault of the server and is passed
// on.
func (l *listener) panicked(_ *worker, v any, stack []byte) {
	panic(fmt.Sprintf("broadcast: accepting: %v\n%s", v, stack))
}

// accept accepts one connection, and reports whether there may be more: accept(2).
func (l *listener) accept() bool {
	fd, errno := l.srv.cfg.sockets.accept4(l.fd)
	switch errno {
	case 0:
		l.srv.total.accepted.Add(1)
		if l.each {
			l.srv.setOptions(fd)
		}
		l.srv.adopt(fd, nil)
		return true
	case unix.EAGAIN:
		l.each = l.mptcp // All connections that were made before the options were set are accepted by now.
		return false
	case unix.EMFILE, unix.ENFILE:
		return l.shed(errno)
	case unix.ENOBUFS, unix.ENOMEM:
		// Only waiting helps: the clock retries, see acceptAgain.
		l.srv.shedLine(errno)
		l.srv.acceptStalled.Store(true)
		return false
	case unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EOPNOTSUPP:
		return false // Not a listener, or closed.
	default:
		// EINTR, ECONNABORTED and errors of the network concern one connection, which is gone.
		return true
	}
}

// shed closes one waiting connection when there is no fd for it: closing the reserve makes room to accept it.
// Otherwise the listener would stay readable, and the client would wait. shed reports whether more connections may
// wait.
func (l *listener) shed(errno unix.Errno) bool {
	if l.reserve < 0 && !l.fillReserve() {
		l.srv.shedLine(errno)
		l.srv.acceptStalled.Store(true)
		return false
	}
	unix.Close(l.reserve)
	l.reserve = -1
	fd, again := l.srv.cfg.sockets.accept4(l.fd)
	if again == 0 {
		unix.Close(fd)
		l.srv.total.shed.Add(1)
		l.srv.shedLine(errno)
	}
	if !l.fillReserve() {
		l.srv.acceptStalled.Store(true)
		return false
	}
	return again != unix.EAGAIN
}

// close stops accepting. A turn that is running ends first, and then closes the fd.
func (l *listener) close() {
	for {
		s := l.state.Load()
		if s&closed != 0 {
			return
		}
		if l.state.CompareAndSwap(s, s|closed) {
			if s&owned == 0 {
				l.release()
			}
			return
		}
	}
}

// release closes the fds and the listener of package net. The caller owns the accepting side.
func (l *listener) release() {
	if l.reserve >= 0 {
		unix.Close(l.reserve)
	}
	_ = l.srv.poller.Del(l.fd)
	l.ln.Close()
}

// opening is the list of opening connections: those whose handshake is not finished, or was refused and whose end is
// awaited.
type opening struct {
	mu     sync.Mutex
	list   connList // Guarded by mu.
	closed bool     // Guarded by mu: the server is stopping.
}

// track adds c. It returns false if the server is stopping.
func (o *opening) track(c *Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.list.add(c)
	}
	return !o.closed
}

// claim takes c out, and reports whether c was in the list. Whoever claims c decides what becomes of it.
func (o *opening) claim(c *Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.list.holds(c) {
		return false
	}
	o.list.remove(c)
	if len(o.list) == 0 && cap(o.list) > 1024 {
		o.list = nil // A storm is over: do not keep its memory.
	}
	return true
}

// takeExpired takes out and returns the connections whose time is over, or all of them if the server is stopping.
func (o *opening) takeExpired(now uint32) (expired []*Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := 0; i < len(o.list); {
		if c := o.list[i]; o.closed || !before(now, c.since) {
			o.list.remove(c)
			expired = append(expired, c)
			continue
		}
		i++
	}
	return expired
}

func (o *opening) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list)
}
