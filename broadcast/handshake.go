package broadcast

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/gobwas/ws"
)

// maxHeadBytes bounds a request head, as Node.js does. A longer one is answered 431 (RFC 6585, section 5).
const maxHeadBytes = 16 << 10

var errLongHead = &Refusal{
	http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the request head is longer than %d bytes", maxHeadBytes),
}

// handshaker is what a worker needs for handshakes. It is made once. It is also the connection from which ws.Upgrader
// reads the head and to which it writes the answer, in memory only. Owned by the worker.
type handshaker struct {
	bytes.Reader
	req      request
	in, out  []byte
	upgrader ws.Upgrader

	extensions []byte // The answer's line.
}

// init sets the upgrader up so that it selects the first subprotocol offered, as the Node server does, and no
// extension.
func (h *handshaker) init() {
	h.upgrader = ws.Upgrader{Protocol: func([]byte) bool { return true }}
}

// Write appends to the answer of ws.Upgrader. b is copied.
func (h *handshaker) Write(b []byte) (int, error) {
	h.out = append(h.out, b...)
	return len(b), nil
}

// plainHead is what ws.Upgrader needs of a request that was checked, up to the key.
const plainHead = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "

// upgradeAnswer returns the answer with 101 (RFC 6455, section 4.2.2) to the request in req, which was checked. bits
// is the window of compression, 0 for none; limited reports whether the client has limited it, so that the answer
// must state it. ws.Upgrader gets the request in its plainest form, because it refuses some lists of tokens that RFC
// 9110 allows, and reads beyond the head if it can. The answer is valid until the next call.
func (h *handshaker) upgradeAnswer(bits int, limited bool) ([]byte, error) {
	h.in = append(append(h.in[:0], plainHead...), h.req.key...)
	if len(h.req.protocol) > 0 {
		h.in = append(append(h.in, "\r\nSec-WebSocket-Protocol: "...), h.req.protocol...)
	}
	h.in = append(h.in, "\r\n\r\n"...)
	h.Reset(h.in)
	h.out = h.out[:0]
	h.upgrader.Header = nil
	if bits > 0 {
		h.extensions = append(h.extensions[:0], "Sec-WebSocket-Extensions: "...)
		h.extensions = append(appendDeflateAnswer(h.extensions, bits, limited), crlf...)
		h.upgrader.Header = ws.HandshakeHeaderBytes(h.extensions)
	}
	_, err := h.upgrader.Upgrade(h)
	return h.out, err
}

// requestHead handles bytes of a request head, and answers the request once its head is whole. b is borrowed.
func (c *Conn) requestHead(w *worker, b []byte) verdict {
	w.handshake.req = request{}
	from := 0
	if c.in != nil {
		if c.in.aheadSince == 0 && !c.in.handed { // Otherwise the head was whole before, and is searched from its start.
			from = max(0, len(c.in.rest)-1)
		}
		c.in.handed = false
		b = c.in.appendHead(b)
	}
	if c.in != nil && c.in.proxied {
		n, refusal := c.takeProxyHeader(b)
		switch {
		case refusal != nil:
			return c.refuse(w, refusal)
		case n == 0:
			return more
		}
		b = c.in.rest[:copy(c.in.rest, b[n:])]
		c.in.rest, from = b, 0
	}
	if looksLikeTLS(b) {
		return c.refuseTLS()
	}
	empty := emptyLines(b)
	n, ok := endOfHead(b[empty:], max(0, from-empty))
	switch {
	case !ok:
		return c.refuse(w, badRequest("a line of the request head does not end with CR LF"))
	case n == 0 && len(b) >= maxHeadBytes:
		w.handshake.req.parseBegun(b)
		return c.refuse(w, errLongHead)
	case n == 0:
		if c.in == nil {
			c.inbound().appendHead(b)
		}
		return more
	}
	b = b[empty:]
	wait, refusal := c.upgrade(w, b[:n])
	switch {
	case wait:
		c.in.rest = c.in.rest[:0]
		c.in.appendHead(b) // b may point into c.in.rest already.
		return held
	case refusal != nil:
		return c.refuse(w, refusal)
	}
	if c.readPhase() != readFrames {
		c.freeInbound() // A client of events sends nothing more.
		return over
	}
	if c.in != nil {
		c.in.rest = append(c.in.rest[:0], b[n:]...) // b may point into c.in.rest already.
		return c.decode(w, nil)
	}
	return c.decode(w, b[n:])
}

// headRoom returns how many bytes of a request head may be read. What is kept of a head, and of bytes that a peer
// sends after it without waiting for the answer, never exceeds maxHeadBytes.
func (r *reader) headRoom() int {
	if r.in == nil {
		return maxHeadBytes
	}
	return maxHeadBytes - len(r.in.rest)
}

// appendHead appends b, which is at most headRoom bytes, to what is kept of a head, and returns all of it. The
// capacity never exceeds maxHeadBytes either: see handshakeBytes. b is copied.
func (in *inbound) appendHead(b []byte) []byte {
	if need := len(in.rest) + len(b); need > cap(in.rest) {
		in.rest = append(make([]byte, 0, min(max(need, 2*cap(in.rest)), maxHeadBytes)), in.rest...)
	}
	in.rest = append(in.rest, b...)
	return in.rest
}

// upgrade answers a handshake with 101 and the greeting, and hands the connection over to its shard. Otherwise it
// reports that the connection must wait for messages of other servers, or returns why the connection must be refused.
func (c *Conn) upgrade(w *worker, head []byte) (wait bool, refusal *Refusal) {
	srv := c.shard().srv
	want, refusal := w.handshake.parseRequest(c, head)
	if refusal != nil || want.form == nil {
		return false, refusal
	}
	if refusal := srv.admit(); refusal != nil {
		return false, refusal
	}
	opened := false
	defer func() { // Also when OnConnect panics.
		if !opened {
			srv.open.Add(-1)
		}
	}()
	grant, refusal := c.authorize(head, want.channel)
	if refusal != nil {
		return false, refusal
	}
	if grant.Value != nil {
		_ = c.SetValue(grant.Value) // Unless it has ended.
	}
	if srv.cfg.Replication.replicated() {
		ch := srv.enter(want.channel)
		defer srv.leave(ch)
		if wait, refusal := c.mustWait(want.channel, want.from); wait || refusal != nil {
			given := grant // Authorize is not called again after the wait.
			c.inbound().grant = &given
			return wait, refusal
		}
	}
	if refusal := c.callOnConnect(head, want.channel); refusal != nil {
		return false, refusal
	}
	if !srv.opening.claim(c) { // endHandshakes has taken it.
		c.refuseLate(&w.handshake.req)
		return false, nil
	}
	opened = true
	if srv.debug() {
		path, _ := w.handshake.req.path() // Without the query, which may contain a token.
		srv.cfg.Logger.Debug("connected", "fd", c.fd, "remote", c.RemoteAddr(), "path", withoutToken(string(path)))
	}
	srv.total.upgraded.Add(1)
	c.finishHandshake(&want, grant)
	return false, nil
}

// requested is what a request asks for.
type requested struct {
	channel string
	form    *form  // nil if the request was answered already: a preflight, or one that got Config.Page.
	answer  []byte // Borrowed from the handshaker.
	from    position
}

// parseRequest parses c's request, and makes all checks that need nothing but the request. head is borrowed.
func (h *handshaker) parseRequest(c *Conn, head []byte) (want requested, refusal *Refusal) {
	srv := c.shard().srv
	if refusal := h.req.parse(head); refusal != nil {
		return want, refusal
	}
	preflight := h.req.preflight()
	if preflight { // It is checked like the request that will follow.
		h.req.method, h.req.upgrade, h.req.events = []byte(http.MethodGet), false, true
	}
	h.req.page = c.wantsPage(&h.req, head)
	if refusal := h.req.checkRequest(srv.cfg.Path, srv.cfg.Channels); refusal != nil {
		return want, refusal
	}
	if srv.cfg.Channels {
		if want.channel, refusal = h.req.channelName(srv.cfg.Path); refusal != nil {
			return want, refusal
		}
	}
	if refusal := srv.origins.checkOrigin(&h.req); refusal != nil {
		return want, refusal
	}
	if h.req.page {
		c.sendPage(&h.req)
		return want, nil
	}
	if preflight {
		c.linger(srv.answerPreflight(nil, &h.req))
		return want, nil
	}
	if c.in != nil && c.in.refusal != nil {
		return want, c.in.refusal
	}
	if refusal := c.takeForwarded(h.req.forwarded); refusal != nil {
		return want, refusal
	}
	if want.answer, want.form, refusal = h.negotiate(srv); refusal != nil {
		return want, refusal
	}
	if srv.cfg.Channels || want.form.kind != formPlain {
		want.from, refusal = h.req.position()
	}
	return want, refusal
}

// finishHandshake makes c a receiver, and hands it over to its shard. No part of the answer has been sent yet.
func (c *Conn) finishHandshake(want *requested, grant Grant) {
	srv := c.shard().srv
	c.setReadPhase(readFrames)
	if want.form.kind == formEvents {
		c.setReadPhase(readDiscard)
		c.watchOver()
	}
	if !grant.Publish {
		c.set(mute)
	}
	at, id, gap := srv.join(c, want.channel, want.form, want.from)
	m := newMail()
	m.until = grant.Until
	m.response = want.form.appendHello(append(m.response, want.answer...), srv.cfg.Greeting, id, gap)
	m.begins = at
	c.open(m)
}

// protocolIDs is the subprotocol of clients that want the IDs of messages.
const protocolIDs = "crier.v1"

// negotiate returns the answer to the request in req, which was checked, and the form that it asks for. The answer is
// valid until the next call.
func (h *handshaker) negotiate(srv *Server) ([]byte, *form, *Refusal) {
	if !h.req.upgrade {
		h.out = srv.answerEvents(h.out[:0], &h.req)
		return h.out, srv.forms[formAt(formEvents, 0)], nil
	}
	bits, limited := 0, false
	if srv.cfg.Compress {
		var ok bool
		if bits, limited, ok = negotiateDeflate(h.req.extensions); !ok {
			return nil, nil, badRequest("malformed Sec-WebSocket-Extensions header")
		}
	}
	kind := formPlain
	if h.req.ids {
		kind = formIDs
		h.req.protocol = []byte(protocolIDs)
	} else if srv.cfg.Authorize != nil && len(h.req.protocol) > 0 {
		if h.req.protocol = withoutTokens(h.req.protocols); len(h.req.protocol) == 0 {
			return nil, nil, badRequest("offer another subprotocol beside the one that is a token, as " + protocolIDs)
		}
	}
	answer, err := h.upgradeAnswer(bits, limited)
	if err != nil {
		return nil, nil, badRequest(err.Error())
	}
	return answer, srv.forms[formAt(kind, bits)], nil
}

// takeProxyHeader handles the PROXY header before the request head. It returns the header's length, or 0 if the
// header has not arrived whole.
func (c *Conn) takeProxyHeader(b []byte) (int, *Refusal) {
	p, refusal := readProxyHeader(b)
	if p.length == 0 || refusal != nil {
		return 0, refusal
	}
	c.in.proxied = false
	if p.from.IsValid() {
		if a := c.shard().srv.addresses; !a.register(c, p.from) {
			if !a.crowd(c, p.from) {
				return 0, errManyOfAddress
			}
			c.in.refusal = errManyOfAddress
		}
		return p.length, nil
	}
	c.in.nameless = p.unknown
	return p.length, nil
}

// takeForwarded records the client's address from X-Forwarded-For if the peer is a trusted proxy. After a PROXY
// header without the client's address, the request may consist of the client's own bytes, so its X-Forwarded-For
// proves nothing.
func (c *Conn) takeForwarded(list []byte) *Refusal {
	srv := c.shard().srv
	if srv.addresses == nil || list == nil || c.in != nil && c.in.nameless {
		return nil
	}
	peer := c.RemoteAddr()
	client, unreadable := srv.addresses.client(peer, list)
	if unreadable != "" && srv.proxyLog.allow(srv.clock()) {
		srv.cfg.Logger.Warn(
			"X-Forwarded-For has an entry that is not an IP address; using the address of the proxy that wrote it",
			"entry", withoutToken(unreadable[:min(len(unreadable), 64)]), "remote", client)
	}
	if client != peer && !srv.addresses.register(c, client) {
		return errManyOfAddress
	}
	return nil
}

// callOnConnect calls OnConnect, and returns the refusal that its error stands for. head is borrowed.
func (c *Conn) callOnConnect(head []byte, channel string) *Refusal {
	hook := c.shard().srv.cfg.OnConnect
	if hook == nil {
		return nil
	}
	r, refusal := c.httpRequest(head)
	if refusal != nil {
		return refusal
	}
	if channel != "" {
		c.inbound().channel = channel
	}
	if err := hook(c, r); err != nil {
		return refusalOf(err)
	}
	return nil
}
