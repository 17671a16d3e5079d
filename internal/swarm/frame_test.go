package swarm

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// serverFrame returns m as a server sends it: a client's frame unmasked.
func serverFrame(m message, size int) []byte {
	b := m.appendFrame(nil, size)
	header := 6
	switch b[1] & 127 {
	case 126:
		header = 8
	case 127:
		header = 14
	}
	for i := range b[header:] {
		b[header+i] ^= mask[i&3]
	}
	b[1] &= 127
	return slices.Delete(b, header-4, header)
}

// found is what a frameReader found.
type found struct {
	event   event
	message message
	control string
}

// readAll gives a frameReader bytes in pieces of n and returns all that it found.
func readAll(b []byte, n int) ([]found, error) {
	var r frameReader
	var all []found
	for piece := range slices.Chunk(b, n) {
		for {
			e, rest, err := r.next(piece)
			if err != nil {
				return all, err
			}
			f := found{event: e}
			switch e {
			case eventMessage:
				f.message = r.current
			case eventPing, eventClose:
				f.control = string(r.control)
			}
			if e == eventNone {
				break
			}
			all = append(all, f)
			piece = rest
		}
	}
	return all, nil
}

func TestFrameReaderInPieces(t *testing.T) {
	messages := []struct {
		m    message
		size int
	}{
		{message{0, 0}, prefixBytes},
		{message{1, 1}, 64},
		{message{99, 1 << 35}, 125},
		{message{maxSenders - 1, 7}, 126},
		{message{0, 60}, 65535},
		{message{3, 61}, 65536},
	}
	long := strings.Repeat("p", 125)
	var b []byte
	var want []found
	for _, tt := range messages {
		b = append(b, serverFrame(tt.m, tt.size)...)
		b = append(b, 0x89, 2, 'h', 'i', 0x8a, 1, 'x', 0x89, 0, 0x89, 125)
		b = append(b, long...)
		want = append(want, found{event: eventMessage, message: tt.m},
			found{event: eventPing, control: "hi"}, found{event: eventPong},
			found{event: eventPing}, found{event: eventPing, control: long})
	}
	b = append(b, 0x88, 2, 0x03, 0xe8)
	want = append(want, found{event: eventClose, control: "\x03\xe8"})

	for _, n := range []int{1, 2, 3, 5, 7, 11, 64, 127, 1000, 4096, len(b)} {
		got, err := readAll(b, n)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: got %v, %v, want %v", n, got, err, want)
		}
	}
}

// After a damaged message, reading continues with the next one.
func TestFrameReaderPassesOverDamage(t *testing.T) {
	good := serverFrame(message{1, 2}, 64)
	tests := []struct {
		name string
		b    []byte
	}{
		{"the last byte", changed(good, len(good)-1, '~')},
		{"the first byte after the prefix", changed(good, 2+prefixBytes, '~')},
		{"another message's number", changed(good, 9, '9')},
		{"another message's sender", changed(good, 3, '9')},
		{"empty", []byte{0x81, 0}},
		{"less than the prefix", []byte{0x81, 3, 'a', 'b', 'c'}},
		{"one byte less than the prefix", append([]byte{0x82, 7}, "0000000"...)},
		{"longer than any", append([]byte{0x81, 127, 0, 0, 0, 0, 0, 0x10, 0, 1}, make([]byte, maxPayload+1)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := slices.Concat(tt.b, good, tt.b, good)
			want := []found{{event: eventDamaged}, {event: eventMessage, message: message{1, 2}}}
			want = append(want, want...)
			for _, n := range []int{1, 7, len(tt.b), len(b)} {
				if got, err := readAll(b, n); err != nil || !slices.Equal(got, want) {
					t.Errorf("in pieces of %d: got %v, %v, want %v", n, got, err, want)
				}
			}
		})
	}
}

func changed(b []byte, at int, to byte) []byte {
	b = slices.Clone(b)
	b[at] = to
	return b
}

func TestFrameReaderRefuses(t *testing.T) {
	good := serverFrame(message{1, 2}, 64)
	tests := []struct {
		name string
		b    []byte
	}{
		{"a fragment", changed(good, 0, 0x01)},
		{"a continuation", changed(good, 0, 0x80)},
		{"a compressed message", changed(good, 0, 0xc1)},
		{"a masked message", message{1, 2}.appendFrame(nil, 64)},
		{"a masked message with a long length", message{1, 2}.appendFrame(nil, 200)},
		{"an unknown control frame", []byte{0x8b, 0}},
		{"a ping in fragments", []byte{0x09, 0}},
		{"a masked ping", []byte{0x89, 0x80, 1, 2, 3, 4}},
		{"a long control frame", append([]byte{0x89, 126}, make([]byte, 200)...)},
		{"2 bytes of length for less than the prefix", append([]byte{0x81, 126, 0, 7}, "00000000"...)},
		{"2 bytes of length for 125", append([]byte{0x81, 126, 0, 125}, make([]byte, 125)...)},
		{"8 bytes of length for 65535", append([]byte{0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, make([]byte, 65535)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{1, len(tt.b)} {
				if got, err := readAll(tt.b, n); !errors.Is(err, errFrame) || len(got) > 0 {
					t.Errorf("in pieces of %d: got %v, %v, want %v", n, got, err, errFrame)
				}
			}
		})
	}
}

func TestFrameReaderAllocatesNothing(t *testing.T) {
	b := append(serverFrame(message{1, 2}, 64), serverFrame(message{1, 3}, 20000)...)
	var r frameReader
	got := testing.AllocsPerRun(100, func() {
		for piece := range slices.Chunk(b, 1000) {
			for e := eventPing; e != eventNone; {
				var err error
				if e, piece, err = r.next(piece); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func FuzzFrameReader(f *testing.F) {
	f.Add(serverFrame(message{1, 2}, 64), 3)
	f.Add([]byte{0x89, 126, 0, 0x81, 127, 255}, 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		whole, wantErr := readAll(b, max(len(b), 1))
		pieces, err := readAll(b, max(n, 1))
		if !slices.Equal(whole, pieces) || (err == nil) != (wantErr == nil) {
			t.Errorf("in pieces of %d: got %v, %v, want %v, %v", n, pieces, err, whole, wantErr)
		}
	})
}
