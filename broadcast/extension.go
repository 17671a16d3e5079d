package broadcast

import (
	"bytes"
	"strconv"
)

// deflateName is the extension's name, RFC 7692, section 7.
const deflateName = "permessage-deflate"

// The size of the window is 2 to the power of these bits: RFC 7692, section 7.1.2.1. Without the parameter the server
// may use the largest.
const (
	minWindowBits = 8
	maxWindowBits = 15
)

// negotiateDeflate returns the first acceptable offer of permessage-deflate in the values of Sec-WebSocket-Extensions
// (RFC 7692, section 5.1). bits is the size of the server's window, or 0 if there is no such offer; limited reports
// whether the offer limits that window, so that the answer must state it. ok is false if the list violates the
// grammar of RFC 6455, section 9.1, which requires the handshake to fail.
//
// gobwas/httphead, which ws.Upgrader uses, is not used here: it takes "a b" for an extension b, and a tab for an
// error.
func negotiateDeflate(list []byte) (bits int, limited, ok bool) {
	l := listReader{rest: list}
	for l.nextElement() {
		o := deflateOffer{bits: maxWindowBits}
		name, good := l.token()
		for good && l.acceptByte(';') {
			good = l.parameter(&o)
		}
		if !good || !l.atElementEnd() {
			return 0, false, false
		}
		if bits == 0 && bytes.EqualFold(name, []byte(deflateName)) && !o.declined {
			bits, limited = o.bits, o.seen[serverMaxWindowBits]
		}
	}
	return bits, limited, true
}

// appendDeflateAnswer appends the answer to an offer of bits. It excludes context takeover in both directions, so
// that one compressed frame is right for all receivers, and no connection keeps a window. A server may exclude both
// without being asked (RFC 7692, sections 7.1.1.1 and 7.1.1.2). It states the size of its window only to a client
// that has limited it (sections 7.1.2.1 and 7.1.3).
func appendDeflateAnswer(dst []byte, bits int, limited bool) []byte {
	dst = append(dst, deflateName+"; server_no_context_takeover; client_no_context_takeover"...)
	if limited {
		dst = strconv.AppendInt(append(dst, "; server_max_window_bits="...), int64(bits), 10)
	}
	return dst
}

// deflateOffer is the parameters of one offer, RFC 7692, section 7.1.
type deflateOffer struct {
	bits     int
	declined bool // A parameter is unknown, occurs twice, or has an invalid value.
	seen     [4]bool
}

// serverMaxWindowBits is the index of that parameter in deflateOffer.seen.
const serverMaxWindowBits = 2

// addParameter adds one parameter to the offer. value is nil if the parameter has none.
func (o *deflateOffer) addParameter(name, value []byte) {
	bits, valid := windowBits(value)
	var n int
	switch string(name) {
	case "server_no_context_takeover":
		n, valid = 0, value == nil
	case "client_no_context_takeover":
		n, valid = 1, value == nil
	case "server_max_window_bits":
		n = serverMaxWindowBits
		o.bits = min(o.bits, bits)
	case "client_max_window_bits": // Only a hint: the server accepts any window of the client.
		n, valid = 3, valid || value == nil
	default:
		valid = false
	}
	if !valid || o.seen[n] {
		o.declined = true
	}
	o.seen[n] = true
}

// windowBits parses a decimal number from 8 to 15 without leading zeros.
func windowBits(b []byte) (n int, ok bool) {
	switch {
	case len(b) == 1 && (b[0] == '8' || b[0] == '9'):
		return int(b[0] - '0'), true
	case len(b) == 2 && b[0] == '1' && b[1] >= '0' && b[1] <= '5':
		return 10 + int(b[1]-'0'), true
	}
	return 0, false
}

// listReader reads a list of extensions, RFC 6455, section 9.1.
type listReader struct{ rest []byte }

// space skips optional white space.
func (l *listReader) space() { l.rest = bytes.TrimLeft(l.rest, " \t") }

// acceptByte skips c, and reports whether c came next.
func (l *listReader) acceptByte(c byte) bool {
	l.space()
	if len(l.rest) == 0 || l.rest[0] != c {
		return false
	}
	l.rest = l.rest[1:]
	return true
}

// nextElement moves to the next element, and reports whether there is one. Empty elements are skipped: RFC 9110,
// section 5.6.1.2.
func (l *listReader) nextElement() bool {
	for l.acceptByte(',') {
	}
	return len(l.rest) > 0
}

// atElementEnd reports whether the current element ends here.
func (l *listReader) atElementEnd() bool {
	l.space()
	return len(l.rest) == 0 || l.rest[0] == ','
}

// token reads a token: RFC 9110, section 5.6.2. ok is false if there is none.
func (l *listReader) token() (b []byte, ok bool) {
	l.space()
	n := 0
	for n < len(l.rest) && isToken(l.rest[n:n+1]) {
		n++
	}
	b, l.rest = l.rest[:n], l.rest[n:]
	return b, n > 0
}

// parameter reads a parameter, with or without a value, into o. A value is a token, or a quoted string that contains
// only characters of a token (RFC 6455, section 9.1). It returns false if the parameter is malformed.
func (l *listReader) parameter(o *deflateOffer) bool {
	name, ok := l.token()
	if !ok {
		return false
	}
	if !l.acceptByte('=') {
		o.addParameter(name, nil)
		return true
	}
	quoted := l.acceptByte('"')
	value, ok := l.token()
	if ok && quoted {
		ok = len(l.rest) > 0 && l.rest[0] == '"'
		l.rest = l.rest[min(1, len(l.rest)):]
	}
	o.addParameter(name, value)
	return ok
}
