package broadcast

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// TestDecodeHeld: while the server is behind, nothing is published and nothing is lost, wherever the stream is cut.
// Control frames before the message are answered.
func TestDecodeHeld(t *testing.T) {
	b := stream("ping 1", "text one", "ping 2", "text+ tw", "ping 3", "cont o", "binary three")
	want := []string{"text:one", "text:two", "binary:three"}
	for cut := range len(b) + 1 {
		for size := 1; size <= len(b)-cut+1; size += 3 { // What comes per recv when it is held no more.
			d := newDecoder(t, 0)
			if cut > 0 {
				d.recv(t, b[:cut])
			}
			before := len(d.messages)
			d.srv.root.behind.Store(true)
			rest := b[cut:]
			for v := more; len(rest) > 0 && v != held; {
				n := min(size, len(rest))
				v, _ = d.recv(t, rest[:n])
				rest = rest[n:]
			}
			for range 2 { // A turn too early changes nothing.
				if v := d.c.decode(d.w, nil); v == over || len(d.messages) != before {
					t.Fatalf("cut at %d: while held: got verdict %d, messages %q", cut, v, d.messages)
				}
			}
			d.srv.root.behind.Store(false)
			d.c.decode(d.w, nil)
			for ; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				d.recv(t, rest[:min(size, len(rest))])
			}
			if fmt.Sprint(d.messages) != fmt.Sprint(want) || d.c.in != nil {
				t.Fatalf("cut at %d, recvs of %d: got messages %q, want %q", cut, size, d.messages, want)
			}
		}
	}
}

// TestDecodeHeldAnswers: a ping before a held message is answered at once.
func TestDecodeHeldAnswers(t *testing.T) {
	d := newDecoder(t, 0)
	d.srv.root.behind.Store(true)
	v, got := d.recv(t, stream("ping 1", "text a", "ping 2"))
	if v != held || got.pong != "1" {
		t.Errorf("got verdict %d, pong %q, want %d, pong 1", v, got.pong, held)
	}
}

// TestDecodeKeepsWhatArrived: memory grows with the bytes that have arrived, not with the declared length, and is
// freed when the message is complete.
func TestDecodeKeepsWhatArrived(t *testing.T) {
	d := newDecoder(t, 1<<30)
	header := rawHeader(0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0) // 1 GiB
	if _, got := d.recv(t, append(header, make([]byte, 1000)...)); got.why != 0 {
		t.Fatalf("got %+v", got)
	}
	if got := cap(d.c.in.payload) + cap(d.c.in.rest); got > 64<<10 {
		t.Errorf("buffers: got %d bytes for 1000 that came", got)
	}
}

// TestDecodeAllocs: a small text message in one frame costs no allocation.
func TestDecodeAllocs(t *testing.T) {
	frame := clientFrame(nil, true, ws.OpText, []byte(strings.Repeat("x", 64)))
	d := publishingDecoder(t, 0)
	decode := func() {
		if v := d.c.receive(d.w, d.w.buf[:copy(d.w.buf, frame)]); v != short {
			t.Fatalf("got verdict %d, want %d", v, short)
		}
		// As a shard does it, so that the log is dropped and nobody is held.
		d.c.feed().encoding.setOffered(d.c.feed(), d.srv.root.plain.log.Head())
	}
	if got := testing.AllocsPerRun(1000, decode); got != 0 {
		t.Errorf("allocations: got %v, want 0", got)
	}
	if got, want := d.srv.total.messages.Load(), uint64(1001); got != want {
		t.Errorf("messages: got %d, want %d", got, want)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16 << 10, 1 << 20} {
		for _, chop := range []int{0, 1460} { // 0 is whole, or as whole as a recv brings it.
			name := fmt.Sprintf("size=%d/whole", size)
			if chop > 0 {
				name = fmt.Sprintf("size=%d/cut=%d", size, min(chop, size/2))
				chop = min(chop, size/2)
			} else {
				chop = recvBytes
			}
			b.Run(name, func(b *testing.B) { benchmarkDecode(b, size, chop) })
		}
	}
}

func benchmarkDecode(b *testing.B, size, chop int) {
	frame := clientFrame(nil, true, ws.OpText, bytes.Repeat([]byte("x"), size))
	d := publishingDecoder(b, size)
	n := 0
	d.srv.cfg.OnMessage = func(*Conn, Message) (Message, bool) { n++; return Message{}, false }
	want := 0
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		want++
		for rest := frame; len(rest) > 0; {
			k := min(chop, len(rest))
			d.c.receive(d.w, d.w.buf[:copy(d.w.buf, rest[:k])])
			rest = rest[k:]
		}
	}
	if n != want {
		b.Errorf("messages: got %d, want %d", n, want)
	}
}
