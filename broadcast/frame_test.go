package broadcast

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// lengths are the payload lengths around each change of form.
var lengths = []int{0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 1 << 20}

func TestAppendFrame(t *testing.T) {
	for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpPing, ws.OpPong, ws.OpClose} {
		for _, n := range lengths {
			payload := bytes.Repeat([]byte{'x'}, n)
			got := appendFrame([]byte("before"), op, payload)
			var want bytes.Buffer
			want.WriteString("before")
			if err := ws.WriteFrame(&want, ws.NewFrame(op, true, payload)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("op %d, %d bytes: got %s, want %s", op, n, brief(got), brief(want.Bytes()))
			}
			if got, want := frameLen(got[len("before"):]), want.Len()-len("before"); got != want {
				t.Errorf("op %d, %d bytes: frameLen: got %d, want %d", op, n, got, want)
			}
		}
	}
}

func TestAppendClose(t *testing.T) {
	for _, reason := range []string{"", "so", string(bytes.Repeat([]byte{'r'}, 123))} {
		got := appendClose(nil, ws.StatusGoingAway, reason)
		want := ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, reason)))
		if !bytes.Equal(got, want) {
			t.Errorf("reason %q: got %q, want %q", reason, got, want)
		}
	}
}

func TestHeaderSize(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want int
	}{
		{"nothing", nil, 0},
		{"one byte", []byte{0x81}, 0},
		{"masked, 7 bits", []byte{0x81, 0x80 | 125}, 6},
		{"masked, 16 bits", []byte{0x81, 0x80 | 126}, 8},
		{"masked, 64 bits", []byte{0x81, 0x80 | 127}, 14},
		{"unmasked, 7 bits", []byte{0x81, 0}, 2},
		{"unmasked, 16 bits", []byte{0x81, 126}, 4},
		{"unmasked, 64 bits", []byte{0x81, 127}, 10},
	}
	for _, tt := range tests {
		if got := headerSize(tt.b); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
	for _, n := range lengths {
		f := clientFrame(nil, true, ws.OpBinary, make([]byte, n))
		if got, want := headerSize(f), len(f)-n; got != want {
			t.Errorf("payload of %d bytes: got %d, want %d", n, got, want)
		}
	}
}

func TestShortestLength(t *testing.T) {
	tests := []struct {
		name    string
		length7 byte
		n       int64
		want    bool
	}{
		{"7 bits, none", 0, 0, true},
		{"7 bits, most", 125, 125, true},
		{"16 bits, none", 126, 0, false},
		{"16 bits, one too few", 126, 125, false},
		{"16 bits, least", 126, 126, true},
		{"16 bits, most", 126, 65535, true},
		{"64 bits, none", 127, 0, false},
		{"64 bits, one too few", 127, 65535, false},
		{"64 bits, least", 127, 65536, true},
		{"64 bits, most", 127, 1<<63 - 1, true},
		{"with the mask bit", 0x80 | 126, 125, false},
		{"64 bits with the mask bit", 0x80 | 127, 65535, false},
	}
	for _, tt := range tests {
		if got := shortestLength(tt.length7, tt.n); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestValidStatus(t *testing.T) {
	valid := func(code int) bool {
		for _, r := range [][2]int{{1000, 1003}, {1007, 1014}, {3000, 4999}} {
			if r[0] <= code && code <= r[1] {
				return true
			}
		}
		return false
	}
	for code := range 1 << 16 {
		if got, want := validStatus(uint16(code)), valid(code); got != want {
			t.Errorf("%d: got %t, want %t", code, got, want)
		}
	}
}
