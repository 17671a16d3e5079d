package broadcast

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
)

// forwarded notes what Config.Forward gets, as "channel kind text".
type forwarded struct {
	mu       sync.Mutex
	messages []string // Guarded by mu.
}

func (f *forwarded) add(channel string, m Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, fmt.Sprintf("%s %d %s", channel, m.Kind, m.Payload))
}

func (f *forwarded) have() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.messages)
}

// TestForward: a published message is forwarded once, in its publisher's order, as OnMessage returned it. Messages of
// other servers and refused messages are not forwarded.
func TestForward(t *testing.T) {
	var f forwarded
	srv, addr := newServer(t, Config{Channels: true, Replication: Replication{Forward: f.add}, OnMessage: func(_ *Conn, m Message) (Message, bool) {
		if string(m.Payload) == "silence" {
			return Message{}, false
		}
		return Message{m.Kind, append([]byte("ws "), m.Payload...)}, true
	}})
	c := dialPath(t, addr, "/news")
	send := func(text string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	_, err := srv.PublishTo(t.Context(), "sport", Message{Text, []byte("goal")})
	send("goal", err)
	_, err = srv.PublishAll(t.Context(), []Addressed{{"news", Message{Binary, []byte("one")}}, {"sport", Message{Text, []byte("two")}}})
	send("one and two", err)
	send("from elsewhere", srv.Replica().DeliverForwarded(t.Context(), "news", Message{Text, []byte("from elsewhere")}))
	if _, err := srv.PublishAll(t.Context(), []Addressed{{"news", Message{Text, []byte("good")}}, {"news", Message{Text, []byte("\xff")}}}); !errors.Is(err, ErrNotText) {
		t.Errorf("got %v, want %v", err, ErrNotText)
	}
	if err := srv.Replica().DeliverForwarded(t.Context(), "news", Message{Text, []byte("\xff")}); !errors.Is(err, ErrNotText) {
		t.Errorf("got %v, want %v", err, ErrNotText)
	}
	c.sendText("a")
	c.sendText("silence")
	c.sendFrame(false, ws.OpText, []byte("b"))
	c.sendFrame(true, ws.OpContinuation, []byte("c"))
	c.expectFrame(ws.OpBinary, "one")
	for _, want := range []string{"from elsewhere", "ws a", "ws bc"} {
		c.expectText(want)
	}
	want := []string{"sport 1 goal", "news 2 one", "sport 1 two", "news 1 ws a", "news 1 ws bc"}
	eventually(t, "all to be forwarded", func() bool { return len(f.have()) >= len(want) })
	if got := f.have(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestForwardBoth: two servers that forward to each other have each message once, those of one publisher in its order.
func TestForwardBoth(t *testing.T) {
	var servers [2]atomic.Pointer[Server]
	var addrs [2]string
	for i := range servers {
		srv, addr := newServer(t, Config{Replication: Replication{Forward: func(channel string, m Message) {
			if err := servers[1-i].Load().Replica().DeliverForwarded(t.Context(), channel, m); err != nil {
				t.Error(err)
			}
		}}})
		servers[i].Store(srv)
		addrs[i] = addr
	}
	var clients []*client
	for _, addr := range addrs {
		clients = append(clients, dial(t, addr), dial(t, addr))
	}
	const each = 200
	var publishing sync.WaitGroup
	for i, c := range clients {
		publishing.Go(func() {
			for k := range each {
				if _, err := c.Write(clientFrame(nil, true, ws.OpText, fmt.Appendf(nil, "%d %d", i, k))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	publishing.Wait()
	for i, c := range clients {
		var next [4]int
		for range len(clients) * each {
			_, p, _ := c.readFrame()
			var from, k int
			if _, err := fmt.Sscanf(string(p), "%d %d", &from, &k); err != nil || k != next[from] {
				t.Fatalf("client %d: got %q, want %d of %d", i, p, next[from], from)
			}
			next[from]++
		}
	}
}

// TestForwardNot: a server that has its order from elsewhere forwards nothing.
func TestForwardNot(t *testing.T) {
	_, err := New(Config{Replication: Replication{Order: &line{}, Epoch: "town", Forward: new(forwarded).add}})
	if err == nil || !strings.Contains(err.Error(), "Config.Replication.Forward is given, want no Order") {
		t.Errorf("got %v", err)
	}
	srv, _ := newServer(t, Config{Replication: Replication{Order: &line{}, Epoch: "town"}})
	if err := srv.Replica().DeliverForwarded(t.Context(), "", Message{Text, []byte("x")}); !errors.Is(err, ErrOrder) {
		t.Errorf("got %v, want %v", err, ErrOrder)
	}
}

// TestForwardAllocs: forwarding allocates nothing by itself.
func TestForwardAllocs(t *testing.T) {
	frame := clientFrame(nil, true, ws.OpText, []byte("hello"))
	d := publishingDecoder(t, 0)
	n := 0
	d.srv.cfg.Replication.Forward = func(string, Message) { n++ }
	decode := func() {
		d.c.receive(d.w, d.w.buf[:copy(d.w.buf, frame)])
		d.c.feed().encoding.setOffered(d.c.feed(), d.srv.root.plain.log.Head())
	}
	if got := testing.AllocsPerRun(1000, decode); got != 0 || n != 1001 {
		t.Errorf("got %v allocations and %d messages, want 0 and 1001", got, n)
	}
}
