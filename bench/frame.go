package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	errDamaged = errors.New("measure: a message came damaged")
	errFrame   = errors.New("measure: a frame that no broadcaster sends")
)

// event is what frameReader.next found.
type event uint8

const (
	eventNone    event = iota // the bytes are used up
	eventMessage              // a whole message came
	eventPing                 // a ping came
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

	// control is the payload of the last control frame.
	control []byte
}

// next takes bytes from the front of b up to the end of one message or control
// frame, and returns the rest. The message is r.current, the control frame's payload
// is r.control, which is good until the next call.
func (r *frameReader) next(b []byte) (event, []byte, error) {
	if len(r.left) > 0 {
		return r.fill(b)
	}
	head := b
	if r.nheld > 0 {
		head = r.held[:int(r.nheld)+copy(r.held[r.nheld:], b)]
	}
	need := headBytes(head)
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
		return eventNone, nil, errDamaged
	}
	r.left = r.left[n:]
	if len(r.left) > 0 {
		return eventNone, nil, nil
	}
	return eventMessage, b[n:], nil
}

// open starts on a frame with a whole head, which b follows.
func (r *frameReader) open(head, b []byte) (event, []byte, error) {
	switch head[0] {
	case 0x81, 0x82:
		start, size := payload(head)
		if size < prefixBytes || size > maxPayload {
			return eventNone, nil, errDamaged
		}
		r.current = parsePrefix(head[start:])
		r.left = r.current.filler(int(size) - prefixBytes)
		if len(r.left) == 0 {
			return eventMessage, b, nil
		}
		return r.fill(b)
	case 0x88:
		r.control = head[2:]
		return eventClose, b, nil
	case 0x89:
		r.control = head[2:]
		return eventPing, b, nil
	}
	return eventNone, nil, fmt.Errorf("%w: first byte %#x", errFrame, head[0])
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

// payload returns where the payload of a data frame starts and its length.
func payload(head []byte) (start int, size uint64) {
	switch head[1] {
	case 126:
		return 4, uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		return 10, binary.BigEndian.Uint64(head[2:])
	}
	return 2, uint64(head[1])
}
