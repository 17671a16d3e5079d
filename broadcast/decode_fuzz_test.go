package broadcast

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// slowDecoder is the reference for decoding: it takes one byte at a time, keeps all of them, and judges everything
// again after each one.
type slowDecoder struct {
	max     int
	deflate bool   // Compression is negotiated.
	frame   []byte // The frame in progress, as it came.

	op         byte // Of the message in progress, or 0.
	compressed bool // It is.
	payload    []byte
	messages   []string
	pongs      []string
	why        Reason
	status     ws.StatusCode
	echo       string // What a good close frame held.
}

func (s *slowDecoder) fail(why Reason, status ws.StatusCode) { s.why, s.status = why, status }

// next takes the next byte.
func (s *slowDecoder) next(b byte) {
	if s.why != 0 {
		return
	}
	s.frame = append(s.frame, b)
	f := s.frame
	if len(f) < 2 {
		return
	}
	form, size := int(f[1]&0x7f), 2
	switch form {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	lengthEnd := size
	if f[1]&0x80 != 0 {
		size += 4
	}
	if len(f) < size {
		return
	}
	length := uint64(form)
	if form > 125 {
		length = 0
		for _, b := range f[2:lengthEnd] {
			length = length<<8 | uint64(b)
		}
	}
	if len(f) == size && s.badHeader(length) {
		return
	}
	s.body(f[size-4:size], f[size:], length)
}

// badHeader reports whether the header of s.frame, which has just become complete, is a violation.
func (s *slowDecoder) badHeader(length uint64) bool {
	f := s.frame
	op, fin := f[0]&15, f[0]&0x80 != 0
	form := f[1] & 0x7f
	data := op <= 2
	first := op == 1 || op == 2
	if first {
		s.compressed = s.op == 0 && s.deflate && f[0]&0x40 != 0
	}
	most, rsv := s.max-len(s.payload), f[0]&0x70
	if s.compressed {
		most += deflateOverhead(s.max)
		if first {
			rsv &^= 0x40
		}
	}
	switch {
	case rsv != 0, f[1]&0x80 == 0, op > 2 && op < 8, op > 10,
		op >= 8 && (!fin || length > 125),
		op == 0 && s.op == 0, data && op != 0 && s.op != 0,
		form == 126 && length < 126, form == 127 && (length < 65536 || length>>63 != 0):
		s.fail(ReasonProtocolError, 1002)
	case data && length > uint64(most):
		s.fail(ReasonTooLarge, 1009)
	case data && op != 0:
		s.op = op
	}
	return s.why != 0
}

// body handles a payload, whole or partial.
func (s *slowDecoder) body(mask, masked []byte, length uint64) {
	p := slices.Clone(masked)
	for i := range p {
		p[i] ^= mask[i%4]
	}
	op, fin := s.frame[0]&15, s.frame[0]&0x80 != 0
	whole := uint64(len(p)) == length
	if whole {
		s.frame = s.frame[:0]
	}
	switch {
	case op <= 2:
		s.data(p, fin, whole)
	case !whole:
	case op == 9:
		s.pongs = append(s.pongs, string(p))
	case op == 8:
		s.closed(p)
	}
}

func (s *slowDecoder) data(p []byte, fin, whole bool) {
	message := append(slices.Clone(s.payload), p...)
	if s.op == 1 && !s.compressed && (firstBad(message) < len(message) || fin && whole && !utf8.Valid(message)) {
		s.fail(ReasonInvalidPayload, 1007)
		return
	}
	if !whole {
		return
	}
	s.payload = message
	if fin {
		if s.compressed {
			if message = s.inflated(message); s.why != 0 {
				return
			}
		}
		s.messages = append(s.messages, map[byte]string{1: "text:", 2: "binary:"}[s.op]+string(message))
		s.op, s.payload = 0, nil
	}
}

// inflated inflates a message with the standard library.
func (s *slowDecoder) inflated(p []byte) []byte {
	in := bytes.NewReader(append(slices.Clone(p), flushEnd+lastBlock...))
	message, err := io.ReadAll(io.LimitReader(flate.NewReader(in), int64(s.max)+1))
	behind := in.Len() - len(flushEnd) - len(lastBlock)
	switch {
	case len(message) > s.max:
		s.fail(ReasonTooLarge, 1009)
	case err != nil, in.Len() > 0 && behind != 0 && (behind != 1 || p[len(p)-1] != 0),
		s.op == 1 && !utf8.Valid(message):
		s.fail(ReasonInvalidPayload, 1007)
	}
	return message
}

func (s *slowDecoder) closed(p []byte) {
	switch {
	case len(p) == 1, len(p) >= 2 && !validStatus(binary.BigEndian.Uint16(p)): // See TestValidStatus.
		s.fail(ReasonProtocolError, 1002)
	case len(p) > 2 && !utf8.Valid(p[2:]):
		s.fail(ReasonInvalidPayload, 1007)
	default:
		s.echo = string(p)
		s.fail(ReasonPeerClosed, 0)
	}
}

const fuzzMaxMessage = 200

// compareDecoders gives a stream to both decoders, in pieces of the sizes given, and compares the results after each
// piece.
func compareDecoders(t *testing.T, b, sizes []byte, deflate bool) {
	t.Helper()
	d := newDecoder(t, fuzzMaxMessage)
	if deflate {
		d = deflatingDecoder(t, fuzzMaxMessage)
		d.tired = len(sizes)%2 == 1
	}
	ref := &slowDecoder{max: fuzzMaxMessage, deflate: deflate}
	for i := 0; len(b) > 0 && ref.why == 0; i++ {
		n := len(b)
		if len(sizes) > 0 {
			n = min(n, 1+int(sizes[i%len(sizes)]))
		}
		ref.pongs = nil
		for _, c := range b[:n] {
			ref.next(c)
		}
		_, got := d.recv(t, b[:n])
		var want posted
		if len(ref.pongs) > 0 { // Only the newest is answered.
			want.ponged, want.pong = true, ref.pongs[len(ref.pongs)-1]
		}
		want.why, want.status, want.body = ref.why, ref.status, ref.echo
		switch {
		case want.why == ReasonPeerClosed:
			got.status = 0 // It is in the body.
		default:
			got.body = "" // What it says is for people.
		}
		if got != want {
			t.Fatalf("chop %d (%d bytes): got %+v, want %+v", i, n, got, want)
		}
		if !slices.Equal(d.messages, ref.messages) {
			t.Fatalf("chop %d (%d bytes): got messages %q, want %q", i, n, d.messages, ref.messages)
		}
		b = b[n:]
	}
	idle := len(ref.frame) == 0 && ref.op == 0 || ref.why != 0
	if got := d.c.in == nil; got != idle {
		t.Fatalf("holds no buffer: got %t, want %t", got, idle)
	}
}

// randomStream returns a stream that is mostly valid: frames of all kinds, some of them broken in one place.
func randomStream(rng *rand.Rand, deflate bool) []byte {
	words := []string{"", "a", "hello", "\u00e9", "\u20ac", "\U0001F600", manyRunes, strings.Repeat("x", 125),
		strings.Repeat("\u20ac", 42), "\x03\xe8", "\x03\xe8bye", "\xe2\x82", "\xac"}
	var b []byte
	open := false
	var z *compressor
	if deflate {
		z = newCompressor(maxWindowBits)
	}
	for range 1 + rng.IntN(12) {
		p := []byte(words[rng.IntN(len(words)-rng.IntN(3))])
		if deflate && !open && rng.IntN(2) == 0 {
			p = z.compress(bytes.Repeat(p, 1+rng.IntN(3)*rng.IntN(8)))
			cut := rng.IntN(2) * rng.IntN(len(p)+1)
			if start := len(b); cut > 0 {
				b = clientFrame(b, false, ws.OpText, p[:cut])
				b[start] |= rsv1
				b = clientFrame(b, true, ws.OpContinuation, p[cut:])
			} else {
				b = append(b, frameWith(rsv1, true, ws.OpText, p)...)
			}
			continue
		}
		op, fin := ws.OpCode(1+rng.IntN(2)), rng.IntN(3) > 0
		switch r := rng.IntN(12); {
		case r < 3:
			op, fin = ws.OpPing+ws.OpCode(rng.IntN(2)), true
			p = p[:min(len(p), 125)]
		case r == 3 && rng.IntN(4) == 0:
			op, fin = ws.OpClose, true
			p = p[:min(len(p), 125)]
		case open && rng.IntN(20) > 0:
			op = ws.OpContinuation
		}
		if op < 8 {
			open = !fin
		}
		b = clientFrame(b, fin, op, p)
	}
	if rng.IntN(4) == 0 {
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	}
	return b
}

// TestDecodeRandom runs FuzzDecode on random streams, in every test run.
func TestDecodeRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		deflate := seed%3 == 0
		b := randomStream(rng, deflate)
		sizes := make([]byte, rng.IntN(6))
		for i := range sizes {
			sizes[i] = byte(rng.IntN(1 + 30*rng.IntN(3)))
		}
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { compareDecoders(t, b, sizes, deflate) }) {
			return
		}
	}
}

func FuzzDecode(f *testing.F) {
	for seed := range uint64(30) {
		deflate := seed%2 == 0
		f.Add(randomStream(rand.New(rand.NewPCG(seed, 1)), deflate), []byte{byte(seed), 0}[seed/2%2:], deflate)
	}
	for _, deflate := range []bool{false, true} {
		f.Add(stream("text+ ab", "ping 1", "cont cd", "close \x03\xe8bye"), []byte{0}, deflate)
		f.Add(stream("text+ \xe2", "cont+ \x82", "cont \xac"), []byte{}, deflate)
		f.Add(rawHeader(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0), []byte{3}, deflate)
		f.Add(rawHeader(0x82, 0xfe, 0, 125), []byte{1, 2}, deflate)
		f.Add(append(stream("binary+ x"), rawHeader(0x80, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255)...), []byte{255}, deflate)
	}
	f.Fuzz(func(t *testing.T, b, sizes []byte, deflate bool) {
		if len(b) > 4096 { // The slow one is slow.
			return
		}
		compareDecoders(t, b, sizes, deflate)
	})
}
