package broadcast

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Handler returns a handler with which the server shares the port, the mux and the middleware of a net/http server.
// It answers WebSocket handshakes and requests for server-sent events as the server's own port does; hooks get the
// request as the handler got it, with the values of its context, its pattern and its TLS state. With Config.Channels
// the path in r.URL names the channel, so http.StripPrefix can be in front. The handler returns when the handshake is
// over. The connection then belongs to the Server, and only the Server's Shutdown (or Run) ends it; Shutdown of the
// http.Server does not.
//
// A TCP or Unix socket connection of package net costs no more than on the server's own port: it needs no goroutine
// and no buffer. Any other connection, such as one with TLS, has no file descriptor that the server can watch. Two
// goroutines then carry its bytes over a pair of sockets. That takes 2 more file descriptors and about 12 KiB for
// each connection (as measured with Go 1.26), beside the 10 KiB or so of crypto/tls, and three more system calls for
// each message. Config.MemoryBytes does not count it. For very many connections put a TLS proxy in front instead.
//
// WebSockets need HTTP/1.1, which browsers use for them even where they use HTTP/2 for other requests, and a
// ResponseWriter that can be hijacked, perhaps by its Unwrap method: see http.ResponseController. Other handshakes are
// refused with 426 (HTTP/2) or 500 (middleware that hides http.Hijacker, such as http.TimeoutHandler).
//
// Over HTTP/2, and where middleware hides http.Hijacker, events are written through the ResponseWriter on the handler's
// goroutine. This needs a ResponseWriter that can be flushed. A peer that does not read its events is dropped after
// Config.PingTimeout. If the peer reads nothing at all from an HTTP/2 connection, net/http keeps the connection, and
// the goroutine, unless the http.Server has an HTTP2Config.WriteByteTimeout.
func (srv *Server) Handler() http.Handler { return http.HandlerFunc(srv.serveHTTP) }

func (srv *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	head, refusal := writtenHead(r)
	if refusal != nil {
		srv.total.countRefusal(refusal.Status)
		srv.refuseHTTP(w, r, refusal, head)
		return
	}
	h := &handover{head: head, request: r, answered: make(chan struct{})}
	if r.ProtoMajor == 1 {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err == nil {
			srv.handOver(h, conn, buffered.Reader)
			return
		}
		if listHas([]byte(strings.Join(r.Header["Upgrade"], ",")), "websocket") {
			srv.cfg.Logger.Error("a WebSocket handshake cannot be answered: its http.ResponseWriter cannot be hijacked",
				"err", err, "type", fmt.Sprintf("%T", w),
				"hint", "let the middleware's ResponseWriter have a method Unwrap or Hijack")
			http.Error(w, "WebSockets do not work behind this server's middleware", http.StatusInternalServerError)
			return
		}
	}
	srv.stream(w, r, h)
}

// writtenHead returns the head of a request as it would come over a connection, or a refusal. Headers that only hooks
// look at, and that may be long, are left out: hooks get the request itself.
func writtenHead(r *http.Request) ([]byte, *Refusal) {
	target := r.URL.EscapedPath()
	if !strings.HasPrefix(target, "/") {
		target = "/" + target // As http.StripPrefix may leave it.
	}
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	if strings.ContainsAny(target+r.Host+r.Method, " \r\n") { // Only middleware can have made it so.
		return nil, badRequest("malformed request")
	}
	minor := 1
	if r.ProtoMajor == 1 {
		minor = r.ProtoMinor
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\nHost: %s\r\n", r.Method, target, minor, r.Host)
	_ = r.Header.WriteSubset(&b, leftOut) // It replaces line ends by spaces.
	if r.ContentLength != 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", r.ContentLength) // Refused, whatever the length is.
	}
	b.WriteString("\r\n")
	if b.Len() > maxHeadBytes {
		return b.Bytes(), errLongHead
	}
	return b.Bytes(), nil
}

// leftOut lists the headers that writtenHead does not write.
var leftOut = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true,
	"Cookie": true, "Authorization": true, "User-Agent": true, "Referer": true,
}

// clientAddr returns the address that a request comes from, as net/http or its middleware has set it. If that is not
// an address, it is the peer's, as far as it is known: peer is nil for a request whose connection was not hijacked.
// Zero is a peer on a Unix socket, which may be trusted.
func clientAddr(r *http.Request, local, peer net.Addr) netip.AddrPort {
	from, ok := parsePeer(r.RemoteAddr)
	if !ok && peer != nil {
		from, ok = parsePeer(peer.String())
	}
	if !ok && (local == nil || local.Network() != "unix") {
		return unknownPeer
	}
	return from
}

// unknownPeer is the address of peers whose address is unknown. They are not trusted, and they count as one address.
var unknownPeer = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)

// parsePeer reads an IP address with or without a port.
func parsePeer(s string) (from netip.AddrPort, ok bool) {
	from, err := netip.ParseAddrPort(s)
	if err != nil {
		var addr netip.Addr
		addr, err = netip.ParseAddr(s)
		from = netip.AddrPortFrom(addr, 0)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err == nil
}

// handOver gives a hijacked connection to the server, and waits for the end of the handshake.
func (srv *Server) handOver(h *handover, conn net.Conn, buffered *bufio.Reader) {
	_ = conn.SetDeadline(time.Time{}) // Those of net/http.
	h.remote = clientAddr(h.request, conn.LocalAddr(), conn.RemoteAddr())
	early, _ := buffered.Peek(buffered.Buffered())
	h.head = append(h.head, early...)
	fd, err := srv.descriptor(h, conn)
	if err != nil {
		conn.Close()
		srv.total.shed.Add(1)
		srv.shedLine(err)
		return
	}
	if srv.takeOver(fd, h) != nil {
		if h.released != nil {
			h.released()
		}
		return
	}
	<-h.answered
}

// descriptor returns an fd for a hijacked connection. It takes the connection over unless it returns an error.
func (srv *Server) descriptor(h *handover, conn net.Conn) (fd int, err error) {
	// Another type may transform the bytes, or need its Close to be called, even if it has a descriptor.
	switch conn := conn.(type) {
	case *net.TCPConn:
		if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok && sameAddr(peer.AddrPort(), h.remote) {
			h.remote = netip.AddrPort{} // The kernel knows it.
		}
		fd, err = dup(conn, "connection")
	case *net.UnixConn:
		fd, err = dup(conn, "connection")
	default:
		p := &pump{srv: srv, conn: conn, limit: writeLimit{set: conn.SetWriteDeadline, timeout: srv.cfg.PingTimeout}}
		if fd, p.pair, err = srv.socketPair(); err == nil {
			h.released = p.released
			p.start()
		}
		return fd, err
	}
	if err == nil {
		conn.Close()
	}
	return fd, err
}

func sameAddr(a, b netip.AddrPort) bool {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) == b
}

// stream answers a request through its ResponseWriter. It is the client of a connection whose other end belongs to the
// server.
func (srv *Server) stream(w http.ResponseWriter, r *http.Request, h *handover) {
	fd, pair, err := srv.socketPair()
	if err != nil {
		srv.total.shed.Add(1)
		srv.shedLine(err)
		srv.refuseHTTP(w, r, &Refusal{http.StatusServiceUnavailable, "no file descriptor is free"}, h.head)
		return
	}
	// The server sees that the peer is gone. The answer's Body stays open: Close would read an event stream to its end.
	defer pair.Close()
	defer context.AfterFunc(r.Context(), func() { _ = pair.Close() })()
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	h.remote = clientAddr(r, local, nil)
	out := &streamWriter{ResponseWriter: w, rc: http.NewResponseController(w), pair: pair}
	out.limit.set, out.limit.timeout = out.rc.SetWriteDeadline, srv.cfg.PingTimeout
	defer out.limit.freeze() // The ResponseWriter must not be used after the handler has returned.
	h.released = func() { out.limit.hurry(min(srv.cfg.CloseTimeout, stopTime/2)) }
	takeErr := srv.takeOver(fd, h) // With an error it is answered all the same.
	answer, err := http.ReadResponse(bufio.NewReader(pair), r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if answer.StatusCode == http.StatusUpgradeRequired && r.ProtoMajor > 1 {
		answer.Body = io.NopCloser(strings.NewReader(needsHTTP1))
		answer.Header.Del("Content-Length")
	}
	if takeErr != nil || !h.opened() { // It is short, and the deadline of net/http holds.
		writeHead(w, r, answer)
		_, _ = io.Copy(w, answer.Body)
		return
	}
	if !canFlush(w) {
		srv.cfg.Logger.Error("a request for events cannot be answered: its http.ResponseWriter cannot be flushed",
			"type", fmt.Sprintf("%T", w), "hint", "let the middleware's ResponseWriter have a method Unwrap or Flush")
		http.Error(w, "server-sent events do not work behind this server's middleware", http.StatusInternalServerError)
		return
	}
	out.limit.setDeadline(time.Time{}) // Events go on for longer than the http.Server allows.
	writeHead(w, r, answer)
	out.copyFrom(answer.Body)
}

// needsHTTP1 replaces the text of a 426 over HTTP/2, which has no header Upgrade (RFC 9113, section 8.2.2).
const needsHTTP1 = "WebSockets need HTTP/1.1 on this server, and this request came over HTTP/2; " +
	"requests for events have the header Accept: text/event-stream\n"

// canFlush reports whether http.ResponseController.Flush works with w, without flushing it.
func canFlush(w http.ResponseWriter) bool {
	for {
		switch v := w.(type) {
		case http.Flusher, interface{ FlushError() error }:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return false
		}
	}
}

// writeHead writes the status and the headers of an answer.
func writeHead(w http.ResponseWriter, r *http.Request, answer *http.Response) {
	for name, values := range answer.Header {
		if name != "Connection" && (name != "Upgrade" || r.ProtoMajor == 1) {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.StatusCode)
}

// refuseHTTP refuses a request through its ResponseWriter, as its kind of client understands it.
func (srv *Server) refuseHTTP(w http.ResponseWriter, r *http.Request, refusal *Refusal, head []byte) {
	var req request
	req.parseBegun(head)
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(srv.appendRefusal(nil, refusal, &req))), r)
	if err != nil {
		panic(fmt.Sprintf("broadcast: no answer: %v", err)) // appendRefusal wrote it.
	}
	defer answer.Body.Close()
	writeHead(w, r, answer)
	_, _ = io.Copy(w, answer.Body)
}

// streamWriter writes events to the client of stream.
type streamWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	pair  net.Conn
	limit writeLimit
}

// copyFrom copies events, and flushes after each piece.
func (s *streamWriter) copyFrom(body io.Reader) {
	buf := make([]byte, 4<<10)
	err := s.writeAndFlush(nil)
	for err == nil {
		var n int
		n, err = body.Read(buf)
		err = cmp.Or(s.writeAndFlush(buf[:n]), err)
	}
}

// writeAndFlush writes b and flushes it. The first call also sends the head.
func (s *streamWriter) writeAndFlush(b []byte) error {
	s.limit.startWrite()
	defer s.limit.endWrite()
	if d := s.limit.timeout; d > 0 {
		// The server drops the client even if nothing ends the write: middleware may have no deadline, and that of
		// HTTP/2 does not work while the whole connection is stuck.
		defer time.AfterFunc(d, func() { _ = s.pair.Close() }).Stop()
	}
	if _, err := s.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}
