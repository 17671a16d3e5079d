package broadcast

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// statusTryAgainLater was registered after RFC 6455, in the IANA registry of close codes.
const statusTryAgainLater = ws.StatusCode(1013)

// Violations in addition to those of gobwas/ws. The texts are the reasons in close frames.
var (
	errLength    = ws.ProtocolError("payload length is not in its shortest form")
	errTooLarge  = errors.New("message is larger than allowed")
	errText      = errors.New("text is not valid UTF-8")
	errCrowded   = errors.New("no memory for more unfinished messages")
	errReceive   = errors.New("this server takes no messages")
	errMute      = errors.New("this connection may not send messages")
	errUnordered = errors.New("messages cannot be taken at the moment")
	errRate      = errors.New("more messages than this server takes")
	errStatus    = ws.ProtocolError("close frame is malformed")
)

// checkHeader returns an error if a frame header violates RFC 6455, section 5.2, or does not fit the state of the
// connection. second is the second byte of the header.
func (c *Conn) checkHeader(h ws.Header, second byte) error {
	state := ws.StateServerSide
	f := c.feed()
	room := f.shard.srv.cfg.MaxMessageBytes
	deflate := f.encoding.form.bits > 0 && mayCompress(h)
	if c.in != nil && c.in.op != 0 {
		state = state.Set(ws.StateFragmented)
		room -= len(c.in.payload)
		deflate = c.in.deflate
	} else if deflate {
		h.Rsv = 0 // The bit has a meaning by an extension, so ws.CheckHeader must not refuse it.
	}
	if deflate {
		room += deflateOverhead(f.shard.srv.cfg.MaxMessageBytes)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return err
	}
	if !shortestLength(second, h.Length) {
		return errLength
	}
	if !h.OpCode.IsControl() && f.shard.srv.cfg.ReceiveOnly {
		return errReceive
	}
	if !h.OpCode.IsControl() && c.has(mute) {
		return errMute
	}
	if !h.OpCode.IsControl() && h.Length > int64(room) { // The length may be as large as 2^63-1.
		return errTooLarge
	}
	return nil
}

// answerClose answers a close frame with its own body (RFC 6455, section 5.5.1). p is the body, and is copied.
func (c *Conn) answerClose(p []byte) verdict {
	switch {
	case len(p) == 1, len(p) >= 2 && !validStatus(binary.BigEndian.Uint16(p)):
		return c.violated(errStatus)
	case len(p) > 2 && !utf8.Valid(p[2:]):
		return c.violated(errText)
	}
	m := newMail()
	m.closing = appendFrame(m.closing, ws.OpClose, p)
	c.stopReading(m, ReasonPeerClosed)
	return over
}

// violated fails the connection, RFC 6455, section 7.1.7.
func (c *Conn) violated(err error) verdict {
	code, why := ws.StatusProtocolError, ReasonProtocolError
	switch err {
	case errText, errDeflate:
		code, why = ws.StatusInvalidFramePayloadData, ReasonInvalidPayload
	case errTooLarge:
		code, why = ws.StatusMessageTooBig, ReasonTooLarge
	case errUnordered:
		code, why = statusTryAgainLater, ReasonUnordered
	case errCrowded:
		code, why = statusTryAgainLater, ReasonCrowded
	case errReceive, errMute:
		code, why = ws.StatusPolicyViolation, ReasonReceiveOnly
	case errRate:
		code, why = ws.StatusPolicyViolation, ReasonRate
	}
	if srv := c.shard().srv; srv.debug() {
		srv.cfg.Logger.Debug("connection failed", "fd", c.fd, "status", code, "err", err)
	}
	c.stopReading(closeMail(code, err.Error()), why)
	return over
}

// stopReading ends decoding. The reading side then only waits for the end of the peer's stream, and discards what the
// peer still sends. m has the close frame, and is handed over.
func (c *Conn) stopReading(m *mail, why Reason) {
	c.setReadPhase(readDiscard)
	m.at = c.spokeUpTo()
	c.shard().post(c, postClose, why, m)
}
