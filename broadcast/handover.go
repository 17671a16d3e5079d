package broadcast

import (
	"errors"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/sys/unix"
)

// handover is a connection whose request net/http has read.
type handover struct {
	head     []byte // The request, written again, and what was read after it.
	request  *http.Request
	remote   netip.AddrPort // See extra.remote.
	released func()         // See extra.released.
	answered chan struct{}  // Closed when conn is open, refused or closed.
	conn     *Conn          // Set by give; nil if takeOver returned an error.
}

// give makes c the connection of h. No other goroutine may know c yet.
func (h *handover) give(c *Conn) {
	h.conn = c
	in := c.inbound()
	in.rest = append(in.rest[:0], h.head...)
	in.handed = true
	t := &c.shard().srv.extras
	t.mu.Lock()
	defer t.mu.Unlock()
	t.storeLocked(c, &extra{
		srv: c.shard().srv, remote: h.remote, released: h.released, request: h.request, handedOver: h.answered,
	})
}

// opened waits for the end of the handshake, and reports whether the connection was opened.
func (h *handover) opened() bool {
	<-h.answered
	return h.conn.has(opened)
}

// handedRequest returns c's request for hooks if c was handed over, or nil.
func (c *Conn) handedRequest() *http.Request {
	x := c.extra()
	if x == nil {
		return nil
	}
	x.mu.Lock()
	r := x.request
	x.mu.Unlock()
	if r == nil {
		return nil
	}
	if from, ok := c.shard().srv.addresses.clientOf(c); ok && from.String() != r.RemoteAddr {
		r = r.WithContext(r.Context()) // A copy: a proxy of Config.TrustedProxies has reported the client's address.
		r.RemoteAddr = from.String()
	}
	return r
}

// ServeConn serves one connection that was accepted, passed or made elsewhere, starting with its handshake. ServeConn
// takes conn over and closes it, but returns without waiting for its end. conn must be a stream socket with a file
// descriptor, like *net.TCPConn and *net.UnixConn, from which nothing has been read yet. conn counts as accepted.
// After Shutdown, the error is ErrServerClosed.
//
// A connection that an http.Handler has hijacked is not for ServeConn, since net/http has read its request: Handler
// serves it. The client of such a connection is answered 500 at once, and the error says so. On a Unix socket,
// ServeConn cannot tell that the request was read, and the client is answered 408 after Config.HandshakeTimeout.
func (srv *Server) ServeConn(conn net.Conn) error {
	fd, err := dup(conn, "connection")
	conn.Close()
	if err != nil {
		return err
	}
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != unix.SOCK_STREAM {
		unix.Close(fd)
		return errors.New("broadcast: connection: want a stream socket")
	}
	if wasRead(fd) {
		srv.refuseFD(fd, &Refusal{http.StatusInternalServerError, "the server has lost this request"}, nil)
		return errors.New("broadcast: connection: part of it was read already, so its request is lost; " +
			"in an http.Handler use Server.Handler")
	}
	return srv.takeOver(fd, nil)
}

// takeOver adopts fd unless the server is closed. It takes fd over in any case.
func (srv *Server) takeOver(fd int, from *handover) error {
	srv.setOptions(fd)
	srv.mu.Lock() // Shutdown begins before, or after the connection is known.
	defer srv.mu.Unlock()
	if srv.closing {
		var head []byte
		if from != nil {
			head = from.head
		} else {
			head = srv.arrived(fd)
		}
		srv.refuseFD(fd, errShuttingDown, head)
		return ErrServerClosed
	}
	srv.total.accepted.Add(1)
	srv.adopt(fd, from)
	return nil
}

var errShuttingDown = &Refusal{http.StatusServiceUnavailable, "the server is shutting down"}

// refuseFD answers a connection with a request that will not be adopted, and closes it.
func (srv *Server) refuseFD(fd int, r *Refusal, head []byte) {
	srv.sendRefusal(fd, r, head)
	unix.Close(fd)
}

// wasRead reports whether bytes were read from a TCP socket: more have arrived than wait.
func wasRead(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false // A Unix socket.
	}
	waits, err := unix.IoctlGetInt(fd, unix.SIOCINQ) // Second: bytes that arrive in between count here only.
	const fin = 1                                    // The end of the stream counts as received, and does not wait.
	return err == nil && info.Bytes_received > uint64(waits)+fin
}
