package broadcast

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pump copies bytes between a connection that epoll cannot watch, such as one of crypto/tls, and one end of a socket
// pair. The other end is a connection of the server.
type pump struct {
	srv     *Server
	conn    net.Conn
	pair    *net.UnixConn
	limit   writeLimit
	running atomic.Int32
}

// minPairBytes is the least size of the send buffer of the server's end. A Page or a refusal, of which the server does
// not send the rest later if the buffer is full, is smaller.
const minPairBytes = 32 << 10

// socketPair returns both ends of a pair of stream sockets. fd is the server's end.
func (srv *Server) socketPair() (fd int, pair *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, os.NewSyscallError("socketpair", err)
	}
	// This bounds what the server has written and the pump has not read yet, as with TCP.
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

// start starts the two goroutines that copy. Both end when the connection has failed, or when the server has closed its
// end of the pair: see released. Server.stop waits for them.
func (p *pump) start() {
	p.running.Store(2)
	p.srv.pumps.Add(1)
	go p.run(p.up)
	go p.run(p.down)
}

// run is the goroutine of one direction.
func (p *pump) run(direction func()) {
	direction()
	if p.running.Add(-1) == 0 {
		p.conn.Close()
		p.pair.Close()
		p.srv.pumps.Add(-1)
	}
}

// released is called when the server has closed its end. What the server has written is sent if the peer takes it in
// time, and nothing more is read.
func (p *pump) released() {
	_ = p.conn.SetReadDeadline(time.Unix(1, 0))
	p.limit.hurry(min(p.srv.cfg.CloseTimeout, stopTime/2))
}

// up copies what the peer sends.
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

// down copies what the server sends.
func (p *pump) down() {
	for {
		buf, n := readReady(p.pair)
		if n == 0 { // The server sends nothing more, but may wait for the peer.
			if half, ok := p.conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			return
		}
		p.limit.startWrite()
		_, err := p.conn.Write(buf[:n])
		p.limit.endWrite()
		pumpBuffers.Put(buf)
		if err != nil {
			_ = p.pair.CloseRead()  // The server's next send fails.
			_ = p.pair.CloseWrite() // It sees the end of the stream, too.
			p.conn.Close()          // Ends p.up. crypto/tls may wait for a peer that does not read.
			return
		}
	}
}

// writeLimit bounds the time that each write to a peer may take, until hurry bounds all remaining writes together.
type writeLimit struct {
	// Immutable after construction.
	set     func(time.Time) error // Sets the deadline for writes.
	timeout time.Duration         // Of each write. If it is not positive, there is no bound.

	mu    sync.Mutex
	fixed bool // Guarded by mu: the deadline stays as it is, and set is no longer called.
}

// startWrite is called before a write.
func (l *writeLimit) startWrite() {
	if l.timeout > 0 {
		l.setDeadline(time.Now().Add(l.timeout))
	}
}

// endWrite is called after a write. Over HTTP/2 a deadline also ends a stream to which nothing is written.
func (l *writeLimit) endWrite() {
	if l.timeout > 0 {
		l.setDeadline(time.Time{})
	}
}

// setDeadline sets the deadline unless it is fixed.
func (l *writeLimit) setDeadline(deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fixed {
		_ = l.set(deadline)
	}
}

// hurry sets one deadline for all remaining writes: the server has given the peer up.
func (l *writeLimit) hurry(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fixed {
		_ = l.set(time.Now().Add(d))
	}
	l.fixed = true
}

// freeze keeps the deadline as it is.
func (l *writeLimit) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fixed = true
}

// pumpBuffers pools the buffers between a read and a write. Idle pumps hold none.
var pumpBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }} // A TLS record's worth.

// readReady reads from conn. It takes a buffer from pumpBuffers only when there is something to read. At the end of the
// stream, n is 0 and buf is nil.
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
