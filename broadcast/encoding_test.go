package broadcast

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
)

// dialDeflate connects with an offer of extensions, and returns the answer to it.
func dialDeflate(t testing.TB, addr, offer string) (*client, []string) {
	t.Helper()
	c := connect(t, addr)
	c.send([]byte(headPlus("Sec-WebSocket-Extensions: " + offer)))
	return c, c.expectUpgrade().Header.Values("Sec-WebSocket-Extensions")
}

// readMessage reads a data frame, inflates it if it is compressed, and reports whether it was.
func (c *client) readMessage() (m Message, compressed bool) {
	c.t.Helper()
	c.deadline()
	h, err := ws.ReadHeader(c.br)
	if err != nil {
		c.t.Fatalf("reading a header: %v", err)
	}
	p := make([]byte, h.Length)
	if _, err := io.ReadFull(c.br, p); err != nil {
		c.t.Fatalf("reading a payload: %v", err)
	}
	if h.Rsv == 0 {
		return Message{Kind(h.OpCode), p}, false
	}
	return Message{Kind(h.OpCode), inflated(c.t, p)}, true
}

func TestCompressNegotiation(t *testing.T) {
	_, on := newServer(t, Config{Compress: true})
	_, off := newServer(t, Config{})
	const answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	tests := []struct{ addr, offer, want string }{
		{on, "permessage-deflate; client_max_window_bits", answer},
		{on, "permessage-deflate; server_max_window_bits=9", answer + "; server_max_window_bits=9"},
		{on, "mystery\r\nSec-WebSocket-Extensions: permessage-deflate", answer},
		{on, "permessage-deflate; mystery", ""},
		{off, "permessage-deflate; client_max_window_bits", ""},
		{off, "no = list", ""}, // What is not used is not judged: as before.
	}
	for _, tt := range tests {
		if _, got := dialDeflate(t, tt.addr, tt.offer); strings.Join(got, "|") != tt.want {
			t.Errorf("%q: got %q, want %q", tt.offer, got, tt.want)
		}
	}
	c := connect(t, on)
	c.send([]byte(headPlus("Sec-WebSocket-Extensions: no = list")))
	if r := c.readResponse(); r.StatusCode != 400 {
		t.Errorf("malformed: got status %d, want 400", r.StatusCode)
	}
}

// TestCompressedBroadcast: connections with windows of all sizes, and those without compression, get the same
// messages, whoever sends them.
func TestCompressedBroadcast(t *testing.T) {
	srv, addr := newServer(t, Config{Compress: true, CompressMinBytes: 100, Greeting: strings.Repeat("hello ", 100)})
	plain := dial(t, addr)
	clients := []*client{plain}
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		c, _ := dialDeflate(t, addr, fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits))
		clients = append(clients, c)
	}
	for _, c := range clients {
		if m, compressed := c.readMessage(); compressed || len(m.Payload) != 600 {
			t.Fatalf("greeting: got %s, compressed %t", brief(m.Payload), compressed)
		}
	}
	long := strings.Repeat("a long message ", 100)
	messages := []struct {
		Message
		compressed bool
	}{
		{Message{Text, []byte(long)}, true},
		{Message{Text, []byte(strings.Repeat("x", 99))}, false},
		{Message{Text, []byte(strings.Repeat("x", 100))}, true},
		{Message{Binary, noise(100)}, false}, // It would be larger.
		{Message{Binary, bytes.Repeat([]byte{0xff}, 500_000)}, true},
		{Message{Text, nil}, false},
	}
	for i, m := range messages {
		sender := clients[i%len(clients)]
		if sender == plain || i%2 == 0 {
			sender.send(clientFrame(nil, true, ws.OpCode(m.Kind), m.Payload))
		} else {
			sender.send(frameWith(rsv1, true, ws.OpCode(m.Kind), newCompressor(maxWindowBits).compress(m.Payload)))
		}
		for k, c := range clients {
			got, compressed := c.readMessage()
			if got.Kind != m.Kind || !bytes.Equal(got.Payload, m.Payload) || compressed != (m.compressed && c != plain) {
				t.Errorf("client %d, message %d: got kind %d, %s, compressed %t", k, i, got.Kind, brief(got.Payload), compressed)
			}
		}
	}
	for _, c := range clients {
		c.Close()
	}
	eventually(t, "all to be gone", func() bool { return srv.Stats().Open == 0 })
}

// TestUnreadEncoding: a form that nobody reads is neither compressed nor kept.
func TestUnreadEncoding(t *testing.T) {
	srv, addr := newServer(t, Config{Compress: true, CompressMinBytes: 1})
	publish := func() {
		t.Helper()
		if err := srv.Publish(context.Background(), Message{Text, []byte(strings.Repeat("x", 1000))}); err != nil {
			t.Fatal(err)
		}
	}
	// inUse is the sizes of windows that there are logs for, but for 0.
	inUse := func() (bits []int) {
		srv.root.mu.Lock()
		defer srv.root.mu.Unlock()
		for e := srv.root.plain.next; e != nil; e = e.next {
			bits = append(bits, e.form.bits)
		}
		return bits
	}
	publish()
	if got := inUse(); got != nil {
		t.Errorf("encoded: windows of %v, want none", got)
	}
	c, _ := dialDeflate(t, addr, "permessage-deflate; server_max_window_bits=10")
	publish()
	if m, compressed := c.readMessage(); len(m.Payload) != 1000 || !compressed {
		t.Errorf("got %s, compressed %t", brief(m.Payload), compressed)
	}
	if got := inUse(); !slices.Equal(got, []int{10}) {
		t.Errorf("encoded: windows of %v, want 10", got)
	}
	c.Close()
	eventually(t, "it to be gone", func() bool { return srv.Stats().Open == 0 })
	srv.tidy()
	if got := inUse(); got == nil {
		t.Error("dropped at once: who comes back soon finds it gone")
	}
	srv.tidy()
	if got := inUse(); got != nil {
		t.Errorf("encoded with nobody left: windows of %v, want none", got)
	}
	again, _ := dialDeflate(t, addr, "permessage-deflate; server_max_window_bits=10")
	publish()
	if m, compressed := again.readMessage(); len(m.Payload) != 1000 || !compressed {
		t.Errorf("again: got %s, compressed %t", brief(m.Payload), compressed)
	}
}

// TestCompressedComeAndGo: while messages are published, connections join and leave encodings that have no other
// readers. Each gets a run without holes, in the same order as the others.
func TestCompressedComeAndGo(t *testing.T) {
	const publishers, rounds, run = 4, 9, 50
	srv, addr := newServer(t, Config{Compress: true, CompressMinBytes: 1})
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() { // Ends when stop is closed.
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				m := Message{Text, fmt.Appendf(nil, "%d %d %s", p, n, strings.Repeat("x", 20))}
				if err := srv.Publish(context.Background(), m); err != nil {
					t.Errorf("Publish: %v", err)
					return
				}
			}
		})
	}
	defer publishing.Wait()
	defer close(stop)
	for round := range rounds {
		bits := minWindowBits + round%3
		var runs [2][]string
		a, _ := dialDeflate(t, addr, fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits))
		b, _ := dialDeflate(t, addr, fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits+1))
		for i, c := range []*client{a, b} {
			next := map[string]int{}
			for range run {
				m, _ := c.readMessage()
				var p, n int
				if _, err := fmt.Sscanf(string(m.Payload), "%d %d", &p, &n); err != nil {
					t.Fatalf("got %q", m.Payload)
				}
				key := fmt.Sprint(p)
				if want, known := next[key]; known && n != want {
					t.Fatalf("round %d, publisher %d: got message %d, want %d", round, p, n, want)
				}
				next[key] = n + 1
				runs[i] = append(runs[i], fmt.Sprint(p, n))
			}
			c.Close()
		}
		if i := slices.Index(runs[0], runs[1][0]); i >= 0 {
			if k := min(len(runs[0])-i, len(runs[1])); !slices.Equal(runs[0][i:i+k], runs[1][:k]) {
				t.Fatalf("round %d: the two got another order", round)
			}
		}
	}
}

// TestReadAgain: an encoding that had no readers is not dropped once it has readers again.
func TestReadAgain(t *testing.T) {
	srv, addr := newServer(t, Config{})
	first := dialIDs(t, addr, "/")
	first.readLine()
	first.Close()
	eventually(t, "it to be gone", func() bool { return srv.Stats().Open == 0 })
	srv.tidy()
	again := dialIDs(t, addr, "/")
	again.readLine()
	srv.tidy()
	publishTo(t, srv, "", "still there")
	if _, got := again.readLine(); got != "still there" {
		t.Errorf("got %q", got)
	}
}

// TestFormsBeginWhileOthersPublish: a form that gets its first reader while a publisher prepares a message gets that
// message, too.
func TestFormsBeginWhileOthersPublish(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Compress: true, CompressMinBytes: 1})
	for i := range 50 {
		target := fmt.Sprint("/", i)
		ids := dialIDs(t, addr, target) // So that a publisher prepares something.
		ids.readLine()
		var publishing sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			publishing.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = srv.PublishTo(context.Background(), target[1:], Message{Text, []byte("one line\nand another")})
					}
				}
			})
		}
		e := getEvents(t, addr, target)
		e.event() // Where it begins, and that again.
		e.event()
		for range 5 {
			if got := e.event(); !strings.HasSuffix(got, "\ndata: one line\ndata: and another\n") {
				t.Fatalf("got %q", got)
			}
		}
		close(stop)
		publishing.Wait()
		e.Close()
		ids.Close()
	}
}
