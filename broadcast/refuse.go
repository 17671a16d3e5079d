package broadcast

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Refusals of excess connections. Up to Config.MaxConnsPerIP excess connections of an address (at least minCrowd) stay
// until their request has arrived, so that the refusal suits the client.
var (
	errManyHandshakes = &Refusal{http.StatusServiceUnavailable, "too many handshakes at once"}
	errManyOfAddress  = &Refusal{http.StatusTooManyRequests, "too many connections from this address"}
	errManyAtAccept   = &Refusal{errManyOfAddress.Status, errManyOfAddress.Reason} // Counted in Stats.ShedPerIP.
)

// turnAway answers a connection at once, based on the part of its request that has arrived (in a flood, often all of
// it). It waits for nothing, so that a flood costs little. It returns false.
func (c *Conn) turnAway(r *Refusal) bool {
	srv := c.shard().srv
	if c.in != nil && c.in.handed {
		srv.sendRefusal(int(c.fd), r, c.in.rest)
		return false
	}
	srv.sendRefusal(int(c.fd), r, srv.arrived(int(c.fd)))
	return false
}

// arrived reads the bytes that wait in a socket, of a request that is refused at once.
func (srv *Server) arrived(fd int) []byte {
	b := make([]byte, turnAwayBytes)
	n, _ := srv.cfg.sockets.recv(fd, b)
	return b[:max(n, 0)]
}

// turnAwayBytes is how much is read of a request that is refused at once.
const turnAwayBytes = 4 << 10

// sendRefusal sends the answer that refuses a request. begun is the part of the request that has arrived; it is
// borrowed.
func (srv *Server) sendRefusal(fd int, r *Refusal, begun []byte) {
	var req request
	req.parseBegun(begun)
	_, _ = srv.cfg.sockets.send(fd, [][]byte{srv.appendRefusal(nil, r, &req)})
}

// refuse answers a request with an error and lingers: closing at once would
// reset the connection if the peer is still sending, and the reset can
// overtake the answer. Peer or handshake timeout end it.
func (c *Conn) refuse(w *worker, r *Refusal) verdict {
	srv := c.shard().srv
	if r == errManyAtAccept {
		srv.total.perIP.Add(1)
	} else {
		srv.total.countRefusal(r.Status)
	}
	if srv.debug() {
		srv.cfg.Logger.Debug("handshake refused", "fd", c.fd, "remote", c.RemoteAddr(),
			"status", r.Status, "reason", withoutToken(r.Reason))
	}
	w.out = srv.appendRefusal(w.out[:0], r, &w.handshake.req)
	return c.linger(w.out)
}

// linger sends the last bytes, in pieces, to a connection that was never open.
func (c *Conn) linger(answer ...[]byte) verdict {
	// The socket's buffer is empty and larger than any answer.
	_, _ = c.shard().sockets.send(int(c.fd), answer)
	_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	c.freeInbound()
	c.setReadPhase(readLinger)
	c.endHandover()
	return over
}

// appendRefusal appends the answer that refuses a request, as its kind of client understands it.
func (srv *Server) appendRefusal(dst []byte, r *Refusal, req *request) []byte {
	if !srv.mayRead(req) {
		return appendError(dst, r, string(req.method) == http.MethodHead, nil)
	}
	if r.forNow() && !req.http10 {
		return srv.appendEnded(dst, r, req)
	}
	cors := srv.appendCORS(nil, req)
	if req.origins == 1 {
		cors = append(cors, "Access-Control-Expose-Headers: Retry-After\r\n"...)
	}
	return appendError(dst, r, false, cors)
}

// forNow reports whether the same request may be served later: the cause is temporary, or on the server's side.
func (r *Refusal) forNow() bool {
	switch r.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusRequestHeaderFieldsTooLarge: // Cookies come and go.
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return r.Status >= http.StatusInternalServerError
}

// appendEnded appends an event stream that ends at once. A browser's EventSource never reconnects after any status but
// 200 (HTML, section 9.2.3), whatever Retry-After says; after the end of the stream it does.
func (srv *Server) appendEnded(dst []byte, r *Refusal, req *request) []byte {
	dst = srv.answerEvents(dst, req)
	why := strings.NewReplacer("\r", " ", "\n", " ").Replace(r.Error()) // It is one line of comment.
	retry := refusedRetryLeast + rand.IntN(refusedRetryJitter)
	return append(appendChunk(dst, fmt.Sprintf(": %s\nretry: %d\n\n", why, retry)), lastChunk...)
}

// appendError appends an HTTP answer with the headers that RFC 9110 asks for
// with its status, and further lines. If head is set, it leaves out the body.
func appendError(dst []byte, r *Refusal, head bool, lines []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(dst, ' '), http.StatusText(r.Status)...)
	switch r.Status {
	case http.StatusUpgradeRequired: // RFC 9110, section 15.5.22; RFC 6455, section 4.4.
		dst = append(dst, "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close"...)
	case http.StatusUnauthorized: // RFC 9110, section 11.6.1; RFC 6750, section 3.
		dst = append(dst, "\r\nWWW-Authenticate: Bearer\r\nConnection: close"...)
	case http.StatusMethodNotAllowed: // RFC 9110, section 15.5.6.
		dst = append(dst, "\r\nAllow: GET\r\nConnection: close"...)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests: // RFC 9110, section 15.6.4; RFC 6585, section 4.
		dst = append(dst, "\r\nRetry-After: 5\r\nConnection: close"...)
	default:
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(append(dst, crlf...), lines...)
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(r.Reason)+1), 10)
	dst = append(dst, "\r\n\r\n"...)
	if head {
		return dst
	}
	return append(append(dst, r.Reason...), '\n')
}

// looksLikeTLS reports whether b starts like a TLS handshake record (RFC 8446, section 5.1), which no HTTP request
// does.
func looksLikeTLS(b []byte) bool { return len(b) >= 2 && b[0] == 0x16 && b[1] == 3 }

// tlsAlert is a fatal handshake_failure alert (RFC 8446, section 6), which every TLS client understands.
var tlsAlert = []byte{0x15, 3, 1, 0, 2, 2, 40}

func (c *Conn) refuseTLS() verdict {
	srv := c.shard().srv
	srv.total.tls.Add(1)
	if srv.tlsLog.allow(srv.clock()) {
		srv.cfg.Logger.Warn("TLS on the plain port: this server speaks plain WebSocket, "+
			"use ws:// and not wss:// here, or put a TLS proxy in front",
			"remote", c.RemoteAddr(), "total", srv.total.tls.Load())
	}
	return c.linger(tlsAlert)
}
