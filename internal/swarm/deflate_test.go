package swarm

import (
	"errors"
	"testing"

	"github.com/crier-ws/crier/broadcast"
	"github.com/klauspost/compress/flate"
)

func TestDeflate(t *testing.T) {
	cfg := forCrier(crier(t, "127.0.0.1:0", broadcast.Config{Compress: true, CompressMinBytes: 1}), 8)
	cfg.Deflate, cfg.Size, cfg.Strict = true, 1000, true
	s := grown(t, cfg)
	for range 3 {
		must(t, s.Broadcast(5))
	}
	wantDelivered(t, s, 15, 8)
}

// A server that does not compress when it was asked to is not what is to be measured.
func TestDeflateRefused(t *testing.T) {
	cfg := forCrier(crier(t, "127.0.0.1:0", broadcast.Config{}), 1)
	cfg.Deflate, cfg.Strict = true, true
	s, err := New(cfg)
	must(t, err)
	defer s.Close()
	if err := s.Grow(1); !errors.Is(err, errDeflate) {
		t.Errorf("got %v, want %v", err, errDeflate)
	}
}

// compressedFrame is a server's frame with a message in it, in a size of 126 or more.
func compressedFrame(t *testing.T, payload []byte) []byte {
	t.Helper()
	var b sliceWriter
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	must(t, err)
	_, _ = w.Write(payload)
	must(t, w.Flush())
	z := b[:len(b)-len(flushEnd)]
	return append([]byte{0x81 | compressedBit, 126, byte(len(z) >> 8), byte(len(z))}, z...)
}

type sliceWriter []byte

func (w *sliceWriter) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

// TestReadCompressed: whole and in pieces, right and damaged.
func TestReadCompressed(t *testing.T) {
	m := message{sender: 3, seq: 70}
	frame := m.appendFrame(nil, 500)
	payload := frame[len(frame)-500:]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	damaged := append([]byte(nil), payload...)
	damaged[400] ^= 1
	for _, tt := range []struct {
		name  string
		frame []byte
		want  event
	}{
		{"right", compressedFrame(t, payload), eventMessage},
		{"damaged", compressedFrame(t, damaged), eventDamaged},
		{"short", compressedFrame(t, payload[:5])[:4], eventDamaged},
	} {
		if tt.name == "short" { // Not to be inflated at all: a frame without payload.
			tt.frame = []byte{0x81 | compressedBit, 0}
		}
		for _, chop := range []int{1, 7, len(tt.frame)} {
			r := frameReader{z: &gathering{inflater: &inflater{}}}
			got := eventNone
			for b := tt.frame; len(b) > 0 && got == eventNone; {
				n := min(chop, len(b))
				var err error
				got, _, err = r.next(b[:n])
				must(t, err)
				b = b[n:]
			}
			if got != tt.want || tt.want == eventMessage && (r.current != m || r.size != 500) {
				t.Errorf("%s in chops of %d: got %v, %+v of %d", tt.name, chop, got, r.current, r.size)
			}
		}
	}
	var r frameReader
	if _, _, err := r.next([]byte{0x81 | compressedBit, 0}); !errors.Is(err, errFrame) {
		t.Errorf("compressed, and nobody asked: got %v, want %v", err, errFrame)
	}
}
