package swarm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// errFrame is what ends a connection: where the next frame starts is not known, or it
// says what a swarm does not understand.
var errFrame = errors.New("swarm: a frame that no broadcaster sends")

// event is what frameReader.next found.
type event uint8

const (
	eventNone    event = iota // the bytes are used up
	eventMessage              // a whole message came
	eventDamaged              // a whole message came that is none of the swarm's
	eventPing                 // a ping came
	eventPong                 // a pong came, which nobody asked for
	eventClose                // a close frame came
)

// frameReader finds the messages in what a server sends, in whatever pieces it
// comes. It checks payloads as they come and keeps only heads. The zero value is
// ready.
type frameReader struct {
	// held is the begin of a frame whose head is not whole: at the most a header
	// and the payload of a control frame.
	held  [2 + 125]byte
	nheld uint8

	// The message that is coming in, and what is still to come of it.
	current message
	left    []byte

	size uint32 // payload of the message that comes or came last
	skip uint32 // what is still to come of a message that is damaged

	// control is the payload of the last control frame.
	control []byte

	z *gathering // nil if the server may not compress
}

// gathering is a compressed message that is coming in: it is kept until it is whole.
type gathering struct {
	inflater *inflater // of the loop
	bytes    []byte
	left     uint32 // what is still to come
}

// next takes bytes from the front of b up to the end of one message or control
// frame, and returns the rest. The message is r.current, the control frame's payload
// is r.control, which is good until the next call.
func (r *frameReader) next(b []byte) (event, []byte, error) {
	switch {
	case r.z != nil && r.z.left > 0:
		return r.gather(b)
	case r.skip > 0:
		return r.pass(b)
	case len(r.left) > 0:
		return r.fill(b)
	}
	head := b
	if r.nheld > 0 {
		head = r.held[:int(r.nheld)+copy(r.held[r.nheld:], b)]
	}
	if len(head) > 0 && !known(head[0]) && !r.compresses(head[0]) {
		return eventNone, nil, fmt.Errorf("%w: first byte %#x", errFrame, head[0])
	}
	need := headBytes(head)
	if len(head) >= 2 && r.compresses(head[0]) {
		need -= min(prefixBytes, int(head[1])) // It starts with no prefix.
	}
	if need > len(r.held) {
		return eventNone, nil, errFrame
	}
	if len(head) < need {
		r.nheld = uint8(copy(r.held[:], head))
		return eventNone, nil, nil
	}
	b = b[need-int(r.nheld):]
	r.nheld = 0
	return r.open(head[:need], b)
}

// fill compares what comes of the current message with what should come.
func (r *frameReader) fill(b []byte) (event, []byte, error) {
	n := min(len(b), len(r.left))
	if !bytes.Equal(b[:n], r.left[:n]) {
		r.skip, r.left = uint32(len(r.left)), nil
		return r.pass(b)
	}
	r.left = r.left[n:]
	if len(r.left) > 0 {
		return eventNone, nil, nil
	}
	return eventMessage, b[n:], nil
}

// pass leaves out what comes of a damaged message.
func (r *frameReader) pass(b []byte) (event, []byte, error) {
	n := uint32(min(uint64(len(b)), uint64(r.skip)))
	r.skip -= n
	if r.skip > 0 {
		return eventNone, nil, nil
	}
	return eventDamaged, b[n:], nil
}

// open starts on a frame with a whole head, which b follows.
func (r *frameReader) open(head, b []byte) (event, []byte, error) {
	switch head[0] {
	case 0x88:
		r.control = head[2:]
		return eventClose, b, nil
	case 0x89:
		r.control = head[2:]
		return eventPing, b, nil
	case 0x8a:
		return eventPong, b, nil
	}
	start, size, err := payload(head)
	if err != nil {
		return eventNone, nil, err
	}
	if size > math.MaxUint32 {
		return eventNone, nil, fmt.Errorf("%w: a message of %d bytes", errFrame, size)
	}
	r.size = uint32(size)
	if r.compresses(head[0]) {
		r.z.bytes, r.z.left = r.z.bytes[:0], r.size
		return r.gather(b)
	}
	if size < prefixBytes || size > maxPayload {
		r.skip = r.size - uint32(len(head)-start)
		return r.pass(b)
	}
	r.current = parsePrefix(head[start:])
	r.left = r.current.filler(int(size) - prefixBytes)
	if len(r.left) == 0 {
		return eventMessage, b, nil
	}
	return r.fill(b)
}

// compressedBit is RSV1, RFC 7692, section 6.
const compressedBit = 0x40

// compresses tells whether a compressed text or binary starts so, and may.
func (r *frameReader) compresses(first byte) bool {
	return r.z != nil && (first == 0x81|compressedBit || first == 0x82|compressedBit)
}

// gather keeps what comes of a compressed message, and looks at it when it is whole.
func (r *frameReader) gather(b []byte) (event, []byte, error) {
	z := r.z
	n := min(uint64(len(b)), uint64(z.left))
	z.bytes = append(z.bytes, b[:n]...)
	z.left -= uint32(n)
	if z.left > 0 {
		return eventNone, nil, nil
	}
	p, err := z.inflater.inflate(z.bytes)
	if err != nil || len(p) < prefixBytes {
		return eventDamaged, b[n:], nil
	}
	r.size = uint32(len(p))
	r.current = parsePrefix(p)
	if !bytes.Equal(p[prefixBytes:], r.current.filler(len(p)-prefixBytes)) {
		return eventDamaged, b[n:], nil
	}
	return eventMessage, b[n:], nil
}

// known tells whether a frame that broadcasters send starts so: whole, and a text, a
// binary, a close, a ping or a pong.
func known(first byte) bool {
	return first == 0x81 || first == 0x82 || first == 0x88 || first == 0x89 || first == 0x8a
}

// headBytes returns how many bytes of a frame must be there before it is looked at:
// of a control frame all, of others the header and the prefix of the payload. With
// less of the header than that takes to know, it returns more than there is.
func headBytes(b []byte) int {
	if len(b) < 2 {
		return 2
	}
	if b[0]&8 != 0 {
		return 2 + int(b[1])
	}
	switch b[1] {
	case 126:
		return 4 + prefixBytes
	case 127:
		return 10 + prefixBytes
	}
	return 2 + min(int(b[1]), prefixBytes)
}

// payload returns where the payload of a data frame starts and its length. "The minimal
// number of bytes MUST be used to encode the length", and a server does not mask, RFC
// 6455, sections 5.1 and 5.2.
func payload(head []byte) (start int, size uint64, err error) {
	var shortest uint64
	switch {
	case head[1] > 127:
		return 0, 0, fmt.Errorf("%w: masked", errFrame)
	case head[1] == 127:
		start, size, shortest = 10, binary.BigEndian.Uint64(head[2:]), 1<<16
	case head[1] == 126:
		start, size, shortest = 4, uint64(binary.BigEndian.Uint16(head[2:])), 126
	default:
		start, size = 2, uint64(head[1])
	}
	if size < shortest {
		return 0, 0, fmt.Errorf("%w: a length of %d that is not in its shortest form", errFrame, size)
	}
	return start, size, nil
}
