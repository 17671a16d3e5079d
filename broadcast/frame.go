package broadcast

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// appendHeader appends the header of a final, unmasked frame with n bytes of payload (RFC 6455, section 5.2).
// gobwas/ws writes headers only to an io.Writer, which allocates for each of them.
func appendHeader(dst []byte, op ws.OpCode, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}

// appendFrame appends a whole final, unmasked frame. payload is copied.
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

// frameLen is the framelog.FrameLen of frames made by appendHeader.
func frameLen(b []byte) int {
	switch n := int(b[1]); n {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + n
	}
}

// appendClose appends a close frame with a status and a reason of at most 123
// bytes, RFC 6455, section 5.5.1.
func appendClose(dst []byte, code ws.StatusCode, reason string) []byte {
	dst = appendHeader(dst, ws.OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// validStatus reports whether a close frame may contain a status: those of RFC 6455, section 7.4.1, the three that
// were registered later (1012 to 1014), and the ranges for libraries and applications of section 7.4.2. gobwas/ws
// refuses the three, and accepts 5000 and above.
func validStatus(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// shortestLength reports whether a payload length was encoded in its shortest form: "in all cases, the minimal number
// of bytes MUST be used to encode the length" (RFC 6455, section 5.2). The low 7 bits of length7 are those of the
// header's second byte.
func shortestLength(length7 byte, n int64) bool {
	switch length7 & 0x7f {
	case 126:
		return n >= 126
	case 127:
		return n > 0xffff
	default:
		return true
	}
}

// headerSize returns the size of the client's frame header that b starts with, or 0 if b is too short to tell (RFC
// 6455, section 5.2).
func headerSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	size := 2
	switch b[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if b[1]&0x80 != 0 {
		size += 4
	}
	return size
}
