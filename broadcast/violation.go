package broadcast

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// statusTryAgainLater is registered behind RFC 6455: the IANA registry of close codes.
const statusTryAgainLater = ws.StatusCode(1013)

// Violations beside those that gobwas/ws knows.
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

// checkHeader checks a header against RFC 6455, section 5.2, and the state of the
// connection. second is the header's second byte.
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
		h.Rsv = 0 // What an extension has given a meaning is no fault.
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

// answerClose answers a close frame: its body comes back as it is, RFC 6455,
// section 5.5.1.
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

// stopReading ends decoding: from now on the reading side only waits for the peer to
// go, and throws away what it still sends.
func (c *Conn) stopReading(m *mail, why Reason) {
	c.readPhase = readDiscard
	m.at = c.spokeUpTo()
	c.shard().post(c, postClose, why, m)
}
