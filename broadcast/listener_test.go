package broadcast

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// acceptFaults is the kernel, except that accept4 fails as the test wants.
type acceptFaults struct {
	kernel
	srv   atomic.Pointer[Server]
	fault func(f *acceptFaults) unix.Errno // 0 to go through to the kernel.
	on    atomic.Bool                      // Whether fault is asked.
	calls atomic.Int64
}

func (f *acceptFaults) accept4(fd int) (int, unix.Errno) {
	f.calls.Add(1)
	if f.on.Load() {
		if errno := f.fault(f); errno != 0 {
			return -1, errno
		}
	}
	return f.kernel.accept4(fd)
}

// noFD is what accept4(2) does in a process that has used up its fds: it fails
// but for the moment in which the reserve is closed. On the accepting side.
func (f *acceptFaults) noFD(errno unix.Errno) unix.Errno {
	srv := f.srv.Load()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.listeners[0].reserve < 0 {
		return 0
	}
	return errno
}

func faultyServer(t *testing.T, fault func(*acceptFaults) unix.Errno) (*acceptFaults, *Server, string) {
	t.Helper()
	f := &acceptFaults{fault: fault}
	srv, addr := newServer(t, Config{sockets: f})
	f.srv.Store(srv)
	dial(t, addr) // The listener is there.
	f.on.Store(true)
	return f, srv, addr
}

// TestListenerOutOfFDs: connections for which there is no fd are closed and do not wait, the listener does not spin,
// and accepting continues when there are fds again.
func TestListenerOutOfFDs(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			f, srv, addr := faultyServer(t, func(f *acceptFaults) unix.Errno { return f.noFD(errno) })
			f.calls.Store(0)
			const conns = 20
			for range conns {
				c := connect(t, addr)
				c.deadline()
				if _, err := c.br.ReadByte(); err != io.EOF && !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("a shed connection: got %v, want it closed", err)
				}
			}
			eventually(t, "the listener's turn to be over", srv.queue.quiet)
			if got := srv.Stats().Shed; got != conns {
				t.Errorf("shed: got %d, want %d", got, conns)
			}
			// For each two calls, and two that find nothing more.
			if got, most := f.calls.Load(), int64(4*conns); got > most {
				t.Errorf("calls of accept4: got %d, want %d at most", got, most)
			}
			f.on.Store(false)
			c := dial(t, addr)
			c.sendText("well again")
			c.expectText("well again")
		})
	}
}

// TestListenerOutOfMemory: no connection can be shed; the clock retries, so a connection that arrived meanwhile is
// served without a further event.
func TestListenerOutOfMemory(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOBUFS, unix.ENOMEM} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			f, srv, addr := faultyServer(t, func(*acceptFaults) unix.Errno { return errno })
			f.calls.Store(0)
			c := connect(t, addr)
			c.send([]byte(handshakeHead))
			ticks := srv.clock() / 100
			eventually(t, "a second try", func() bool { return f.calls.Load() >= 2 })
			eventually(t, "the listener's turn to be over", srv.queue.quiet)
			// An event, and one for each tick of the clock.
			if got, most := f.calls.Load(), int64(srv.clock()/100-ticks)+3; got > most {
				t.Errorf("calls of accept4: got %d, want %d at most", got, most)
			}
			f.on.Store(false)
			c.expectUpgrade()
		})
	}
}

// TestListenerConnectionFaults: an error of one connection does not stop accepting (accept(2)).
func TestListenerConnectionFaults(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.EPERM, unix.ENETUNREACH} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			var left atomic.Int64
			left.Store(acceptsPerTurn + 10) // More than one turn has.
			f, _, addr := faultyServer(t, func(f *acceptFaults) unix.Errno {
				if left.Add(-1) < 0 {
					return 0
				}
				return errno
			})
			f.calls.Store(0)
			c := dial(t, addr)
			c.sendText("through")
			c.expectText("through")
			if got, least := f.calls.Load(), int64(acceptsPerTurn+10); got < least {
				t.Errorf("calls of accept4: got %d, want %d at least", got, least)
			}
		})
	}
}

// acceptFunc is the kernel with another accept4.
type acceptFunc struct {
	kernel
	do func(fd int) (int, unix.Errno)
}

func (a *acceptFunc) accept4(fd int) (int, unix.Errno) { return a.do(fd) }

// newUnserved returns a listener of a server that does not serve: the test is the accepting side.
func newUnserved(t *testing.T, s sockets) (*Server, *listener) {
	t.Helper()
	srv, err := New(Config{sockets: s, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Shutdown(context.Background()) })
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	l, err := newListener(srv, ln)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l.fd) })
	return srv, l
}

// TestListenerShedWithoutReserve: if not even the reserve can be opened again, the clock must retry, because no event
// will come.
func TestListenerShedWithoutReserve(t *testing.T) {
	tests := []struct {
		name string
		do   func(fd int) (int, unix.Errno) // The second accept4.
	}{
		{"nothing accepted", func(int) (int, unix.Errno) { return -1, unix.EMFILE }},
		{"one shed", new(kernel).accept4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var limit unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			var f acceptFunc
			srv, l := newUnserved(t, &f) // The test takes the last file descriptor from the whole process.
			connect(t, l.ln.Addr().String())
			f.do = func(fd int) (int, unix.Errno) {
				fd, errno := tt.do(fd)
				none := limit
				none.Cur = 0 // Somebody else has taken the last fd.
				if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
					t.Error(err)
				}
				return fd, errno
			}
			more := l.shed(unix.EMFILE)
			stalled := srv.acceptStalled.Swap(false)
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			if l.reserve >= 0 {
				t.Errorf("reserve: got fd %d, want none", l.reserve)
				unix.Close(l.reserve)
			}
			if more || !stalled {
				t.Errorf("got more %t, asks the clock %t, want false, true", more, stalled)
			}
		})
	}
}

// TestListenerWithoutFD: a listener that is no socket is refused.
func TestListenerWithoutFD(t *testing.T) {
	srv, _ := newServer(t, Config{})
	type wrapped struct{ net.Listener }
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := srv.Serve(wrapped{ln}); err == nil || errors.Is(err, ErrServerClosed) {
		t.Errorf("got %v, want an error about the listener", err)
	}
}

// TestListenerSeveral: several listeners, of several kinds, one server.
func TestListenerSeveral(t *testing.T) {
	srv, addr := newServer(t, Config{})
	path := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // Stopped by the cleanup of newServer.
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	local := &client{Conn: conn, t: t, br: bufio.NewReader(conn)}
	local.send([]byte(handshakeHead))
	local.expectUpgrade()
	dial(t, addr).sendText("over TCP")
	local.expectText("over TCP")
}

// TestListenerOptions: accepted connections have the options, whether they are older than the call of Serve or not.
func TestListenerOptions(t *testing.T) {
	fds := make(chan int, 1)
	srv, _ := newServer(t, Config{UnsentBytes: 54321, OnConnect: func(c *Conn, _ *http.Request) error { fds <- int(c.fd); return nil }})
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	early := connect(t, ln.Addr().String())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // Stopped by the cleanup of newServer.
	early.send([]byte(handshakeHead))
	early.expectUpgrade()
	earlyFD := <-fds
	dial(t, ln.Addr().String())
	for name, fd := range map[string]int{"early": earlyFD, "late": <-fds} {
		t.Run(name, func(t *testing.T) {
			for option, want := range map[int]int{unix.TCP_NODELAY: 1, unix.TCP_NOTSENT_LOWAT: srv.cfg.UnsentBytes} {
				if got, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, option); err != nil || got != want {
					t.Errorf("tcp(7) option %d: got %d, %v, want %d", option, got, err, want)
				}
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
				t.Errorf("got flags %#x, %v, want O_NONBLOCK", flags, err)
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("got fd flags %#x, %v, want FD_CLOEXEC", flags, err)
			}
		})
	}
}

// TestListenerServeAfterShutdown: the listener is closed and nothing started.
func TestListenerServeAfterShutdown(t *testing.T) {
	srv, _ := newServer(t, Config{})
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(ln); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: got %v, want %v", err, ErrServerClosed)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: got %v, want %v", err, net.ErrClosed)
	}
}

// TestListenFamilies: 0.0.0.0 is all of IPv4 and nothing of IPv6; no host, and ::, are both.
func TestListenFamilies(t *testing.T) {
	for host, both := range map[string]bool{"0.0.0.0": false, "[::ffff:0.0.0.0]": false, "127.0.0.1": false, "": true, "[::]": true} {
		ln, err := Listen(host + ":0")
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		for _, to := range []struct {
			addr string
			open bool
		}{{"127.0.0.1", true}, {"::1", both}} {
			conn, err := net.Dial("tcp", net.JoinHostPort(to.addr, strconv.Itoa(port)))
			if (err == nil) != to.open {
				t.Errorf("%q, from %s: got %v, want open: %t", host, to.addr, err, to.open)
			}
			if err == nil {
				conn.Close()
			}
		}
		ln.Close()
	}
}
