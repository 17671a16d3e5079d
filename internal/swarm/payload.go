package swarm

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

const (
	// prefixBytes of each payload say who sent it and as which: two digits of the
	// sender and six of the sequence number.
	prefixBytes = 8
	digitBits   = 6
	maxSenders  = 1 << (2 * digitBits)

	// maxPayload bounds the size of a message.
	maxPayload = 1 << 20

	// shifts is the number of different fillers.
	shifts = 61
)

// pattern is what fills payloads behind the prefix. Where a message starts in it
// depends on the message, so that parts of two messages mixed up do not match.
var pattern = sync.OnceValue(func() []byte {
	source := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, maxPayload+shifts)
	for i := range p {
		p[i] = digit(source.Uint64())
	}
	return p
})

// message names a message: the seq-th (from 0) of a sender.
type message struct {
	sender uint32
	seq    uint64
}

// filler returns n bytes that follow the prefix of m.
func (m message) filler(n int) []byte {
	shift := (m.seq + uint64(m.sender)) % shifts
	return pattern()[shift:][:n]
}

// digit returns the low six bits of v as a printable character, so that payloads
// are valid text.
func digit(v uint64) byte { return byte(v&(1<<digitBits-1)) + '0' }

// appendFrame appends m as a client's text frame with a payload of size bytes,
// which must be at least prefixBytes.
func (m message) appendFrame(b []byte, size int) []byte {
	b = append(b, 0x81)
	switch {
	case size < 126:
		b = append(b, 0x80|byte(size))
	case size < 1<<16:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(size))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(size))
	}
	b = append(b, mask[:]...)
	start := len(b)
	b = append(b, digit(uint64(m.sender)>>digitBits), digit(uint64(m.sender)))
	for i := 5; i >= 0; i-- {
		b = append(b, digit(m.seq>>(i*digitBits)))
	}
	b = append(b, m.filler(size-prefixBytes)...)
	for i := range b[start:] {
		b[start+i] ^= mask[i&3]
	}
	return b
}

// parsePrefix reads what appendFrame wrote. It does not check the digits: a wrong
// one makes a wrong number, which no receiver waits for.
func parsePrefix(p []byte) message {
	_ = p[prefixBytes-1]
	var v uint64
	for _, c := range p[:prefixBytes] {
		v = v<<digitBits | uint64(c-'0')
	}
	return message{sender: uint32(v >> (6 * digitBits)), seq: v & (1<<(6*digitBits) - 1)}
}

// mask is the masking key of all frames; a server must not know it.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}
