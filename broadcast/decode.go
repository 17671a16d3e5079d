package broadcast

import (
	"runtime"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// inbound is what a connection keeps while something from its peer is unfinished: a handshake, a frame, or a
// fragmented message. It grows with the bytes that have arrived, not with the length that was declared. Owned by the
// reading side.
type inbound struct {
	rest []byte // Not decoded yet: part of a request head or of a frame header, or what arrived while c was held.

	// A frame whose payload has not arrived whole, if inFrame is set.
	inFrame bool
	header  ws.Header
	got     int64  // How many bytes of the payload have arrived.
	control []byte // The payload so far, if it is a control frame.

	// A message whose last fragment has not arrived whole, if op is not 0.
	op      ws.OpCode
	payload []byte // Unmasked.
	text    textCheck
	deflate bool // The message is compressed.

	counted int64 // How many bytes of it are counted in Server.unfinished.

	handed   bool     // rest is a whole request head that net/http has read, and what arrived after it.
	proxied  bool     // A PROXY header must come before the request head.
	nameless bool     // The PROXY header did not contain the client's address.
	refusal  *Refusal // If not nil, refuses the request, which is read only to choose the answer's format.

	// When the connection began to wait for messages of other servers (see Conn.mustWait), after Server.started; or 0.
	aheadSince time.Duration
	grant      *Grant // The result of Authorize, if the connection waits for messages of other servers.
	channel    string // The channel of the request, while OnConnect runs.
}

// keptBytes is the greatest capacity of buffers that go back into the pool.
const keptBytes = 16 << 10

// inbounds pools structs whose buffers are empty.
var inbounds = sync.Pool{New: func() any { return new(inbound) }}

// inbound returns c's inbound, made if there is none.
func (r *reader) inbound() *inbound {
	if r.in == nil {
		r.in = inbounds.Get().(*inbound)
	}
	return r.in
}

// freeInbound discards c's unfinished bytes, and gives its inbound back to the pool.
func (c *Conn) freeInbound() {
	in := c.in
	if in == nil {
		return
	}
	c.in = nil
	if in.counted > 0 {
		c.shard().srv.unfinished.shrank(c, in.counted)
		in.counted = 0
	}
	if cap(in.rest)+cap(in.payload) > keptBytes {
		return
	}
	*in = inbound{rest: in.rest[:0], payload: in.payload[:0], control: in.control[:0]}
	inbounds.Put(in)
}

// verdict is the result of a decoding step: whether decoding continues, or why it stops.
type verdict uint8

const (
	more  verdict = iota // Continue.
	short                // The next step needs bytes that have not arrived yet.
	held                 // The connection must not publish now: see glossary.
	later                // The rest needs a long turn: see Conn.inflateMessage.
	over                 // Nothing more is decoded, after a close frame or a violation.
)

// decode decodes what has arrived. b is the worker's buffer: it is borrowed, and unmasked in place.
func (c *Conn) decode(w *worker, b []byte) verdict {
	if c.in == nil || len(c.in.rest) == 0 {
		n, v := c.frames(w, b)
		if n < len(b) && v != over {
			in := c.inbound()
			in.rest = append(in.rest[:0], b[n:]...)
		}
		return c.settleInbound(v)
	}
	in := c.in
	in.rest = append(in.rest, b...)
	n, v := c.frames(w, in.rest)
	in.rest = in.rest[:copy(in.rest, in.rest[n:])]
	return c.settleInbound(v)
}

// settleInbound frees c's inbound if nothing is unfinished, and counts its memory otherwise. It returns v, or over if
// c's unfinished message does not fit into Config.MemoryBytes.
func (c *Conn) settleInbound(v verdict) verdict {
	in := c.in
	if in == nil {
		return v
	}
	unfinished := len(in.rest) > 0 || in.inFrame || in.op != 0
	if v != over && unfinished && !c.countKept() {
		v = c.violated(errCrowded)
	}
	if v == over || !unfinished {
		c.freeInbound()
	}
	return v
}

// frames decodes frames until b is used up or the verdict is not more. It returns how many bytes of b it has used. b
// is borrowed, and unmasked in place.
func (c *Conn) frames(w *worker, b []byte) (n int, v verdict) {
	for v == more {
		var k int
		if c.in != nil && c.in.inFrame {
			if k, v = c.continueFrame(w, b[n:]); k == 0 && v == more && c.in != nil && c.in.inFrame {
				return n, short
			}
		} else {
			k, v = c.startFrame(w, b[n:])
		}
		n += k
	}
	return n, v
}

// startFrame decodes at the start of a frame (RFC 6455, section 5.2): the whole frame if it has arrived, and its
// header otherwise. b is borrowed, and unmasked in place.
func (c *Conn) startFrame(w *worker, b []byte) (n int, v verdict) {
	n = headerSize(b)
	if n == 0 || len(b) < n {
		return 0, short
	}
	if w.cost++; w.cost%longTurn == 0 {
		runtime.Gosched()
	}
	w.rd.Reset(b[:n])
	h, err := ws.ReadHeaderBuffer(&w.rd, w.header[:])
	if err == nil {
		err = c.checkHeader(h, b[1])
	}
	if err != nil {
		return n, c.violated(err)
	}
	if h.Fin && !h.OpCode.IsControl() && c.mayNotPublish() { // Only the last fragment publishes the message.
		return 0, held
	}
	if rest := b[n:]; int64(len(rest)) >= h.Length {
		p := rest[:h.Length]
		ws.Cipher(p, h.Mask, 0)
		if v = c.wholeFrame(w, h, p); v == later {
			ws.Cipher(p, h.Mask, 0) // Masked again, because it will be decoded again.
			return 0, later
		}
		return n + len(p), v
	}
	in := c.inbound()
	in.inFrame, in.header, in.got, in.control = true, h, 0, in.control[:0]
	if !h.OpCode.IsControl() && h.OpCode != ws.OpContinuation {
		in.startMessage(h)
	}
	return n, more
}

// mayNotPublish reports whether c's messages have to wait, because the server is behind or c is over its rate.
// Messages that will not be published do not wait.
func (c *Conn) mayNotPublish() bool {
	if c.has(mute) {
		return false
	}
	srv := c.shard().srv
	return c.channel().behind.Load() || srv.replica.gated.Load() || srv.limiter.isOverRate(c)
}

// wholeFrame handles a frame whose unmasked payload p has arrived whole. p is borrowed.
func (c *Conn) wholeFrame(w *worker, h ws.Header, p []byte) verdict {
	if h.OpCode.IsControl() {
		return c.controlFrame(w, h.OpCode, p)
	}
	if h.Fin && h.OpCode != ws.OpContinuation { // The message is one frame, so it is not copied.
		if h.Rsv != 0 {
			return c.inflateMessage(w, h.OpCode, p)
		}
		if h.OpCode == ws.OpText && !utf8.Valid(p) {
			return c.violated(errText)
		}
		return c.publishMessage(w, Message{Kind(h.OpCode), p})
	}
	in := c.inbound()
	if h.OpCode != ws.OpContinuation {
		in.startMessage(h)
	}
	if !in.appendPayload(p) {
		return c.violated(errText)
	}
	if !h.Fin {
		return more
	}
	v := c.finishMessage(w)
	if v == later {
		in.payload = in.payload[:len(in.payload)-len(p)] // The frame will be decoded again.
	}
	return v
}

// startMessage starts a message that does not arrive in one piece. h is the header of its first frame.
func (in *inbound) startMessage(h ws.Header) {
	in.op, in.deflate, in.payload, in.text = h.OpCode, h.Rsv != 0, in.payload[:0], textCheck{}
}

// appendPayload adds unmasked payload to the message. It returns false if the message must be text and cannot become
// valid (RFC 6455, section 8.1). p is copied.
func (in *inbound) appendPayload(p []byte) bool {
	in.payload = append(in.payload, p...)
	return in.deflate || in.op != ws.OpText || in.text.validSoFar(p)
}

// continueFrame handles the next bytes of the frame whose payload has not arrived whole. It returns how many bytes of
// b it has used. b is borrowed, and unmasked in place.
func (c *Conn) continueFrame(w *worker, b []byte) (n int, v verdict) {
	in := c.in
	p := b[:min(int64(len(b)), in.header.Length-in.got)]
	n = len(p)
	ws.Cipher(p, in.header.Mask, int(in.got%4))
	in.got += int64(n)
	op := in.header.OpCode
	if op.IsControl() {
		in.control = append(in.control, p...)
	} else if !in.appendPayload(p) {
		return n, c.violated(errText)
	}
	switch {
	case in.got < in.header.Length:
		return n, more
	case op.IsControl():
		in.inFrame = false
		return n, c.controlFrame(w, op, in.control)
	case !in.header.Fin:
		in.inFrame = false
		return n, more
	case c.mayNotPublish():
		return n, held // The frame stays unfinished although all of it has arrived: the next turn tries again.
	}
	v = c.finishMessage(w)
	in.inFrame = v == later // The next turn tries again, as when c is held.
	return n, v
}

// finishMessage publishes the message that has arrived in pieces.
func (c *Conn) finishMessage(w *worker) verdict {
	in := c.in
	var v verdict
	switch {
	case in.deflate:
		v = c.inflateMessage(w, in.op, in.payload)
	case in.op == ws.OpText && !in.text.complete():
		v = c.violated(errText)
	default:
		v = c.publishMessage(w, Message{Kind(in.op), in.payload})
	}
	if v == later {
		return later
	}
	in.op = 0
	in.payload = in.payload[:0]
	return v
}

// publishMessage publishes a message, or passes it to OnMessage. The payload is borrowed.
func (c *Conn) publishMessage(w *worker, m Message) verdict {
	if c.has(mute) { // Set since the header was checked.
		return c.discard()
	}
	srv := c.shard().srv
	if l := srv.limiter; l != nil && !l.spend(c, len(m.Payload), time.Now()) {
		return c.violated(errRate)
	}
	if hook := srv.cfg.OnMessage; hook != nil {
		var ok bool
		if m, ok = hook(c, m); !ok {
			return more
		}
		if err := srv.checkMessage(m); err != nil {
			srv.cfg.Logger.Error("message of OnMessage not published", "err", err)
			return more
		}
	}
	if c.has(mute) { // The hook may have called Close.
		return c.discard()
	}
	c.postPongs(w) // Answers to earlier pings leave before this message.
	if order := srv.cfg.Replication.Order; order != nil {
		order.Submit(c.channel().name, m)
		return more
	}
	if w.published == 0 {
		w.published = time.Since(srv.started)
	}
	srv.appendToLogs(c.channel(), m, 0)
	srv.forward(c.channel().name, m)
	if srv.cfg.Compress {
		w.cost += len(m.Payload) / inflatePerCost // Compressing it took about as long.
	}
	c.set(spoke)
	return more
}

// discard ends decoding: what the peer still sends is discarded.
func (r *reader) discard() verdict {
	r.setReadPhase(readDiscard)
	return over
}

// controlFrame handles a control frame (RFC 6455, section 5.5). p is borrowed.
func (c *Conn) controlFrame(w *worker, op ws.OpCode, p []byte) verdict {
	switch op {
	case ws.OpPing:
		w.pongs.appendFrames(0, appendFrame(w.control[:0], ws.OpPong, p))
	case ws.OpClose:
		return c.answerClose(p)
	}
	return more // A pong, solicited or not (RFC 6455, section 5.5.3), is only a sign of life.
}
