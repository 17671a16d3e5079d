package broadcast

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pump carries bytes between a connection that epoll cannot watch, such as one of crypto/tls,
// and one end of a pair of sockets. The other end is a connection of the server.
type pump struct {
	srv     *Server
	conn    net.Conn
	pair    *net.UnixConn
	limit   writeLimit
	running atomic.Int32
}

// minPairBytes is the least send buffer of a pair's end. What is sent once and not again if it does not fit, such as a
// Page or an answer that refuses, is smaller.
const minPairBytes = 32 << 10

// socketPair returns both ends of a pair of stream sockets; fd is the server's.
func (srv *Server) socketPair() (fd int, pair *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, os.NewSyscallError("socketpair", err)
	}
	// What the server has written and the pump has not read yet is bounded as with TCP.
	_ = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, max(srv.cfg.UnsentBytes, minPairBytes))
	f := os.NewFile(uintptr(fds[1]), "socketpair")
	defer f.Close() // FileConn makes an fd of its own.
	conn, err := net.FileConn(f)
	if err != nil {
		unix.Close(fds[0])
		return -1, nil, err
	}
	return fds[0], conn.(*net.UnixConn), nil
}

// start begins to carry bytes. Both goroutines end when the connection has failed, or when the
// server has closed its end of the pair: see released. Server.stop waits for them.
func (p *pump) start() {
	p.running.Store(2)
	p.srv.pumps.Add(1)
	go p.run(p.up)
	go p.run(p.down)
}

// run is one direction's goroutine.
func (p *pump) run(direction func()) {
	direction()
	if p.running.Add(-1) == 0 {
		p.conn.Close()
		p.pair.Close()
		p.srv.pumps.Add(-1)
	}
}

// released is called when the server has closed its end: what it had written goes out within a
// time if the peer takes it, and nothing is read any more.
func (p *pump) released() {
	_ = p.conn.SetReadDeadline(time.Unix(1, 0))
	p.limit.hurry(min(p.srv.cfg.CloseTimeout, stopTime/2))
}

// up carries what the peer sends.
func (p *pump) up() {
	buf := make([]byte, 2<<10) // Kept while it waits, so it is small.
	for {
		n, err := p.conn.Read(buf)
		if n > 0 {
			if _, err := p.pair.Write(buf[:n]); err != nil {
				return // The server has closed its end.
			}
		}
		if err != nil {
			_ = p.pair.CloseWrite() // The server sees the end of the stream.
			return
		}
	}
}

// down carries what the server sends.
func (p *pump) down() {
	for {
		buf, n := readReady(p.pair)
		if n == 0 { // The server sends nothing more, but may wait for the peer.
			if half, ok := p.conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			return
		}
		p.limit.begin()
		_, err := p.conn.Write(buf[:n])
		p.limit.done()
		pumpBuffers.Put(buf)
		if err != nil {
			_ = p.pair.CloseRead()  // The server's next send fails.
			_ = p.pair.CloseWrite() // It sees the end of the stream, too.
			p.conn.Close()          // Which ends up. crypto/tls may wait for a peer that does not read.
			return
		}
	}
}

// writeLimit bounds the time that each write to a peer may take, until hurry bounds all that are left together.
type writeLimit struct {
	// Immutable after construction.
	set     func(time.Time) error // Sets the deadline for writes.
	timeout time.Duration         // Of each write. 0 and less is no bound.

	mu    sync.Mutex
	fixed bool // Guarded by mu: the deadline stays as it is, and set is not called any more.
}

// begin is called before a write.
func (l *writeLimit) begin() {
	if l.timeout > 0 {
		l.put(time.Now().Add(l.timeout))
	}
}

// done is called after a write. Over HTTP/2 a deadline also ends a stream to which nothing is written.
func (l *writeLimit) done() {
	if l.timeout > 0 {
		l.put(time.Time{})
	}
}

// put sets the deadline unless it is fixed.
func (l *writeLimit) put(deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fixed {
		_ = l.set(deadline)
	}
}

// hurry gives all writes that are left a time together: the server has given the peer up.
func (l *writeLimit) hurry(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fixed {
		_ = l.set(time.Now().Add(d))
	}
	l.fixed = true
}

// end keeps the deadline as it is.
func (l *writeLimit) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fixed = true
}

// pumpBuffers has what is between a read and a write. Idle pumps hold none.
var pumpBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }} // A TLS record's worth.

// readReady reads from conn into a buffer that it takes only when there is something to read.
// n is 0 at the end of the stream; then buf is nil.
func readReady(conn *net.UnixConn) (buf *[16 << 10]byte, n int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, 0
	}
	err = raw.Read(func(fd uintptr) bool {
		buf = pumpBuffers.Get().(*[16 << 10]byte)
		for {
			n, err = unix.Read(int(fd), buf[:])
			if err != unix.EINTR {
				break
			}
		}
		if n > 0 {
			return true
		}
		pumpBuffers.Put(buf)
		buf = nil
		return err != unix.EAGAIN
	})
	return buf, max(n, 0)
}
