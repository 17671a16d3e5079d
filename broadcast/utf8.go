package broadcast

import "unicode/utf8"

func validText(b []byte) bool { return utf8.Valid(b) }

// textCheck validates a text message that arrives in pieces. RFC 6455, section 8.1, requires UTF-8 of the message as
// a whole, so a code point may be cut anywhere, even between two fragments. The zero value is ready for a message.
type textCheck struct {
	n    uint8 // The number of bytes in part: the start of a code point that was cut.
	part [utf8.UTFMax]byte
}

// validSoFar reports whether the bytes so far, including b, can still become valid. It returns false at the first
// byte that rules it out. b is borrowed.
func (t *textCheck) validSoFar(b []byte) bool {
	for t.n > 0 && len(b) > 0 {
		t.part[t.n] = b[0]
		t.n++
		b = b[1:]
		if p := t.part[:t.n]; utf8.FullRune(p) {
			if !utf8.Valid(p) {
				return false
			}
			t.n = 0
		}
	}
	// A code point cut at the end is in the last three bytes.
	for i := max(0, len(b)-utf8.UTFMax+1); i < len(b); i++ {
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			t.n = uint8(copy(t.part[:], b[i:]))
			b = b[:i]
			break
		}
	}
	return utf8.Valid(b)
}

// complete reports whether a message that ends here ends with a whole code point.
func (t *textCheck) complete() bool { return t.n == 0 }
