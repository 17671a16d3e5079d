package broadcast

import (
	"net/http"
	"strconv"

	"golang.org/x/sys/unix"
)

// refuse answers a request with an error and lingers: closing at once would
// reset the connection if the peer is still sending, and the reset can
// overtake the answer. Peer or handshake timeout end it.
func (c *Conn) refuse(w *worker, r *Refusal) verdict {
	srv := c.shard().srv
	srv.total.refusals(r.Status)
	if srv.debug() {
		srv.cfg.Logger.Debug("handshake refused", "fd", c.fd, "remote", c.RemoteAddr(), "status", r.Status, "reason", withoutToken(r.Reason))
	}
	req := &w.handshake.req
	var cors []byte
	if req.events && !req.upgrade && string(req.method) == http.MethodGet && srv.origins.check(req) == nil { // A page may have asked.
		if cors = srv.appendCORS(nil, req); cors != nil {
			cors = append(cors, "Access-Control-Expose-Headers: Retry-After\r\n"...)
		}
	}
	w.out = appendRefusal(w.out[:0], r, string(req.method) == http.MethodHead, cors)
	return c.linger(w.out)
}

// linger sends the last bytes, in pieces, of a connection that was never open.
func (c *Conn) linger(answer ...[]byte) verdict {
	// The socket's buffer is empty and larger than any answer.
	_, _ = c.shard().sockets.send(int(c.fd), answer)
	_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	c.freeInbound()
	c.readPhase = readLinger
	c.answered()
	return over
}

// appendRefusal appends an HTTP answer with the headers that RFC 9110 asks for
// with its status, and further lines.
func appendRefusal(dst []byte, r *Refusal, head bool, lines []byte) []byte {
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
	dst = append(append(append(dst, crlf...), lines...), "Content-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(r.Reason)+1), 10)
	dst = append(dst, "\r\n\r\n"...)
	if head {
		return dst
	}
	return append(append(dst, r.Reason...), '\n')
}

// looksLikeTLS says whether b starts like a TLS handshake record (RFC 8446,
// section 5.1), which no HTTP request does.
func looksLikeTLS(b []byte) bool { return len(b) >= 2 && b[0] == 0x16 && b[1] == 3 }

// tlsAlert is a fatal handshake_failure, RFC 8446, section 6: what a TLS client
// understands at once.
var tlsAlert = []byte{0x15, 3, 1, 0, 2, 2, 40}

func (c *Conn) refuseTLS() verdict {
	srv := c.shard().srv
	srv.total.tls.Add(1)
	if srv.tlsLog.due(srv.clock()) {
		srv.cfg.Logger.Warn("TLS on the plain port: this server speaks plain WebSocket, use ws:// and not wss:// here, or put a TLS proxy in front",
			"remote", c.RemoteAddr(), "total", srv.total.tls.Load())
	}
	return c.linger(tlsAlert)
}
