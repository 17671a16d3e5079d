package broadcast

import (
	"bytes"
	"strconv"
)

// deflateName is the extension's name, RFC 7692, section 7.
const deflateName = "permessage-deflate"

// Sizes of the window as bits, RFC 7692, section 7.1.2.1. A server that is not
// told may use the largest.
const (
	minWindowBits = 8
	maxWindowBits = 15
)

// negotiateDeflate looks through the values of Sec-WebSocket-Extensions for the
// first offer of permessage-deflate that can be taken, RFC 7692, section 5.1.
// bits is what it lets the server's window be, 0 if there is none; limited says that it
// speaks of that, and so must the answer. ok is false if
// the list breaks the grammar of RFC 6455, section 9.1, for which a connection
// has to be failed.
//
// gobwas/httphead, which ws.Upgrader uses, is not used here: it takes "a b"
// for an extension b, and a tab for a fault.
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

// appendDeflateAnswer appends what answers an offer of bits. No context takeover
// in either direction: so one compressed frame is right for all receivers, and
// no connection keeps a window. A server may ask for both unasked, RFC 7692,
// sections 7.1.1.1 and 7.1.1.2; the size of the window it says to a client that limited
// it, sections 7.1.2.1 and 7.1.3.
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
	declined bool // By a parameter that is unknown, or comes twice, or has a wrong value.
	seen     [4]bool
}

// serverMaxWindowBits is the place of that parameter in deflateOffer.seen.
const serverMaxWindowBits = 2

// addParameter takes one parameter. value is nil if it has none.
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
	case "client_max_window_bits": // A hint: any window of the client's is small enough.
		n, valid = 3, valid || value == nil
	default:
		valid = false
	}
	if !valid || o.seen[n] {
		o.declined = true
	}
	o.seen[n] = true
}

// windowBits is a decimal from 8 to 15 without leading zeros.
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

// acceptByte takes c if it comes next.
func (l *listReader) acceptByte(c byte) bool {
	l.space()
	if len(l.rest) == 0 || l.rest[0] != c {
		return false
	}
	l.rest = l.rest[1:]
	return true
}

// nextElement says whether there is one more element, and goes to it. Empty ones are
// left out, RFC 9110, section 5.6.1.2.
func (l *listReader) nextElement() bool {
	for l.acceptByte(',') {
	}
	return len(l.rest) > 0
}

// atElementEnd says whether an element ends here.
func (l *listReader) atElementEnd() bool {
	l.space()
	return len(l.rest) == 0 || l.rest[0] == ','
}

// token takes a token.
func (l *listReader) token() (b []byte, ok bool) {
	l.space()
	n := 0
	for n < len(l.rest) && isToken(l.rest[n:n+1]) {
		n++
	}
	b, l.rest = l.rest[:n], l.rest[n:]
	return b, n > 0
}

// parameter takes a parameter with or without a value, which is a token or a
// quoted string of the characters of one.
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
