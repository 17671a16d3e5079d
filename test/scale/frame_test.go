package scale

import (
	"encoding/binary"
	"fmt"
)

// RFC 6455, section 11.8.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
)

// scanner cuts a server's stream into frames. It knows no pings, which the
// servers of these tests do not send, and no fragments, which crier never does.
type scanner struct {
	rest  []byte // Of a frame that is not whole.
	frame func(op byte, payload []byte) error
}

// take takes what came next. b is borrowed.
func (s *scanner) take(b []byte) error {
	whole := b
	if len(s.rest) > 0 {
		s.rest = append(s.rest, b...)
		whole = s.rest
	}
	for {
		op, payload, size, err := cut(whole)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		if err := s.frame(op, payload); err != nil {
			return err
		}
		whole = whole[size:]
	}
	s.rest = append(s.rest[:0], whole...)
	return nil
}

// cut returns the frame that b begins with, RFC 6455, section 5.2. size is 0 if
// b does not hold all of it.
func cut(b []byte) (op byte, payload []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	op = b[0] & 0x0f
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 || op != opText && op != opBinary && op != opClose {
		return 0, nil, 0, fmt.Errorf("no frame starts with % x", b[:min(len(b), 16)])
	}
	header, length := 2, uint64(b[1])
	switch {
	case length == 126 && len(b) >= 4:
		header, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case length == 127 && len(b) >= 10:
		header, length = 10, binary.BigEndian.Uint64(b[2:])
	case length >= 126:
		return 0, nil, 0, nil
	}
	if length > 1<<30 {
		return 0, nil, 0, fmt.Errorf("a frame of %d bytes", length)
	}
	if size = header + int(length); len(b) < size {
		return 0, nil, 0, nil
	}
	return op, b[header:size], size, nil
}

// appendMasked appends a frame as a client sends it.
func appendMasked(dst []byte, op byte, payload []byte) []byte {
	n := len(payload)
	switch {
	case n < 126:
		dst = append(dst, 0x80|op, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|op, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|op, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x5a, byte(n), 0xc3, byte(n >> 8)}
	dst = append(dst, mask[:]...)
	for i, c := range payload {
		dst = append(dst, c^mask[i%4])
	}
	return dst
}

// frameSize is how many bytes a server's frame has.
func frameSize(payload int) int {
	switch {
	case payload < 126:
		return 2 + payload
	case payload < 1<<16:
		return 4 + payload
	default:
		return 10 + payload
	}
}
