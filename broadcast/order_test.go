package broadcast

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// line is an Order that keeps what it is given in a line, and delivers it to all servers at the call of deliver.
type line struct {
	mu       sync.Mutex
	messages []Addressed
	servers  []*Server
	asked    atomic.Int32 // How often Ahead was called.
}

func (l *line) Submit(channel string, m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, Addressed{channel, Message{m.Kind, slices.Clone(m.Payload)}})
}

func (l *line) Publish(_ context.Context, messages []Addressed) (ids []uint64, err error) {
	for _, m := range messages {
		l.Submit(m.Channel, m.Message)
		ids = append(ids, l.len())
	}
	return ids, nil
}

func (l *line) Ahead() { l.asked.Add(1) }

func (l *line) len() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.messages))
}

// deliver gives a server the messages after those that have an id up to from.
func (l *line) deliver(t *testing.T, srv *Server, from, to uint64) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := from; i < to; i++ {
		if err := srv.Replica().Deliver(t.Context(), i+1, l.messages[i].Channel, l.messages[i].Message); err != nil {
			t.Fatal(err)
		}
		srv.Replica().SetDelivered(i + 1)
	}
}

func (l *line) add(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	cfg.Replication.Order, cfg.Replication.Epoch, cfg.Channels = l, "town", true
	srv, addr := newServer(t, cfg)
	l.servers = append(l.servers, srv)
	return srv, addr
}

// TestOrder: messages published at either of two servers are delivered by both, in one order and with the same IDs.
func TestOrder(t *testing.T) {
	l := &line{}
	one, oneAddr := l.add(t, Config{})
	two, twoAddr := l.add(t, Config{})
	a, b := dialIDs(t, oneAddr, "/news"), dialIDs(t, twoAddr, "/news")
	plain := dialPath(t, twoAddr, "/news")
	a.expectText("at: town-0\n")
	b.expectText("at: town-0\n")
	a.sendText("first")
	eventually(t, "the message to be submitted", func() bool { return l.len() == 1 })
	if p, err := two.PublishTo(t.Context(), "sport", Message{Text, []byte("goal")}); err != nil || p.ID != "town-2" {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err := one.PublishAll(t.Context(), []Addressed{{"news", Message{Text, []byte("second")}}, {"news", Message{Text, []byte("third")}}}); err != nil || p[1].ID != "town-4" || p[1].Receivers != 1 {
		t.Fatalf("got %+v, %v", p, err)
	}
	for _, srv := range l.servers {
		l.deliver(t, srv, 0, 4)
	}
	for _, c := range []*client{a, b} {
		for _, want := range []string{"id: town-1\nfirst", "id: town-3\nsecond", "id: town-4\nthird"} {
			c.expectText(want)
		}
	}
	for _, want := range []string{"first", "second", "third"} {
		plain.expectText(want)
	}
	for _, srv := range l.servers {
		if info, _ := srv.Channel("news"); info.Head != "town-4" || info.Tail != "town-1" {
			t.Errorf("got %+v", info)
		}
	}
	for id, want := range map[uint64]error{0: ErrOrder, 4: ErrOrder, 5: nil} {
		if err := one.Replica().Deliver(t.Context(), id, "news", Message{Text, []byte("x")}); !errors.Is(err, want) {
			t.Errorf("%d: got %v, want %v", id, err, want)
		}
	}
	if err := one.Replica().Deliver(t.Context(), 9, "news", Message{Text, []byte("\xff")}); !errors.Is(err, ErrNotText) {
		t.Errorf("got %v, want %v", err, ErrNotText)
	}
}

// TestOrderResume: a client that reconnects to another server resumes where it was, even if that server has delivered
// less for now.
func TestOrderResume(t *testing.T) {
	l := &line{}
	one, oneAddr := l.add(t, Config{})
	two, twoAddr := l.add(t, Config{})
	for i := range 100 {
		l.Submit([]string{"news", "sport"}[i%2], Message{Text, fmt.Appendf(nil, "%d", i+1)}) // Its id.
	}
	l.deliver(t, one, 0, 100)
	l.deliver(t, two, 0, 90)
	for _, tt := range []struct {
		addr, since string
		first       string // Of the frames after "at".
	}{
		{oneAddr, "town-49", "id: town-51\n51"},
		{oneAddr, "town-50", "id: town-51\n51"}, // The ID is of another channel.
		{twoAddr, "town-49", "id: town-51\n51"},
		{oneAddr, "town-0", "id: town-1\n1"},
		{oneAddr, "elsewhere-49", "gap: elsewhere-49 town-0\n"},
	} {
		c := dialIDs(t, tt.addr, "/news?since="+tt.since)
		if _, p, _ := c.readFrame(); !strings.HasPrefix(string(p), "at: town-") {
			t.Errorf("%s: got %q", tt.since, p)
		}
		c.expectText(tt.first)
	}
	far := connect(t, oneAddr) // No server has delivered that: the client waits, and is refused.
	far.send([]byte(strings.Replace(handshakeHead, "GET / ", "GET /news?since=town-1000 ", 1)))
	if r := far.readResponse(); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d", r.StatusCode)
	}
	c := connect(t, twoAddr)
	c.send([]byte(strings.Replace(strings.Replace(handshakeHead, "GET / ", "GET /news?since=town-97 ", 1), "\r\n\r\n", "\r\nSec-WebSocket-Protocol: crier.v1\r\n\r\n", 1)))
	c.send(clientFrame(nil, true, ws.OpPing, []byte("early"))) // This may arrive together with the head.
	eventually(t, "the client to wait", func() bool { return two.Stats().Handshakes == 1 })
	l.deliver(t, two, 90, 100)
	c.expectUpgrade()
	c.expectText("at: town-97\n")
	for seen := 0; seen < 2; seen++ {
		switch op, p, _ := c.readFrame(); {
		case op == ws.OpPong && string(p) == "early", op == ws.OpText && string(p) == "id: town-99\n99":
		default:
			t.Errorf("got %v %q", op, p)
		}
	}
}

// TestOrderLost: a client with an ID of an order that was restored from a backup is told of a gap as soon as the server
// knows that no server has the message.
func TestOrderLost(t *testing.T) {
	l := &line{}
	srv, addr := l.add(t, Config{})
	_, _ = l.Publish(t.Context(), []Addressed{{"news", Message{Text, []byte("kept")}}})
	l.deliver(t, srv, 0, 1)
	srv.Replica().SetCurrent(time.Now()) // Before the clients connected: this proves nothing about their IDs.
	for _, tt := range []struct{ path, first string }{{"/news", "id: town-1\nkept"}, {"/quiet", ""}} {
		was := l.asked.Load()
		c := connect(t, addr)
		head := strings.Replace(handshakeHead, "GET / ", "GET "+tt.path+"?since=town-7 ", 1)
		c.send([]byte(strings.Replace(head, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: crier.v1\r\n\r\n", 1)))
		eventually(t, "the client to wait", func() bool { return l.asked.Load() > was })
		srv.Replica().SetCurrent(time.Now())
		c.expectUpgrade()
		c.expectText("at: town-0\n")
		c.expectText("gap: town-7 town-0\n")
		if tt.first != "" {
			c.expectText(tt.first)
		}
	}
}

// TestOrderBegin: clients are told of a gap before the first message of a server, also in channels that exist from the
// start, but not in a channel in which nothing was published since.
func TestOrderBegin(t *testing.T) {
	l := &line{}
	srv, addr := l.add(t, Config{})
	srv.Replica().StartAfter(1000)
	srv.Replica().SetDelivered(1010)
	for id := uint64(1001); id <= 1010; id++ {
		if err := srv.Replica().Deliver(t.Context(), id, []string{"", "news"}[id%2], Message{Text, []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ path, since, at, next string }{
		{"/", "town-5", "at: town-1000\n", "gap: town-5 town-1000\n"},
		{"/news", "town-5", "at: town-1000\n", "gap: town-5 town-1000\n"},
		{"/", "town-1000", "at: town-1000\n", "id: town-1002\nx"},
		{"/quiet", "town-5", "at: town-1000\n", "gap: town-5 town-1000\n"},
		{"/quiet", "town-1000", "at: town-1000\n", ""},
		{"/quiet", "town-1007", "at: town-1000\n", ""},
	} {
		c := dialIDs(t, addr, tt.path+"?since="+tt.since)
		c.expectText(tt.at)
		if tt.next != "" {
			c.expectText(tt.next)
			continue
		}
		c.sendFrame(true, ws.OpPing, nil)
		c.expectFrame(ws.OpPong, "")
	}
}

// TestDeliverWhileHeld: a call of Deliver that waited for the server continues although publishers are held.
func TestDeliverWhileHeld(t *testing.T) {
	srv, addr := (&line{}).add(t, Config{})
	c := dialPath(t, addr, "/news")
	ch := srv.enter("news")
	defer srv.leave(ch)
	srv.Replica().HoldPublishers(true)
	defer srv.Replica().HoldPublishers(false)
	ch.behind.Store(true) // The clock finds that it is not.
	if err := srv.Replica().Deliver(t.Context(), 1, "news", Message{Text, []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	c.expectText("hello")
}

// TestIDCharge: the memory of IDs is charged to the space, and freed with them.
func TestIDCharge(t *testing.T) {
	srv, _ := (&line{}).add(t, Config{})
	space := srv.forms[0].log.Space
	for id := uint64(1); id <= 4000; id++ {
		if err := srv.Replica().Deliver(t.Context(), id, []string{"a", "b"}[id%2], Message{Text, []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if got := space.Taken(); got < 4000*idRunBytes {
		t.Errorf("got %d bytes", got)
	}
	for _, name := range []string{"a", "b"} {
		ch := srv.enter(name)
		ch.plain.log.Clear()
		srv.leave(ch)
	}
	srv.tidy()
	if got := space.Taken(); got != 0 {
		t.Errorf("with no messages: got %d bytes, want 0", got)
	}
}

// TestHoldPublishers: held publishers are not read, and are read again afterwards.
func TestHoldPublishers(t *testing.T) {
	l := &line{}
	srv, addr := l.add(t, Config{})
	c := dialPath(t, addr, "/news")
	srv.Replica().HoldPublishers(true)
	for range 10 {
		c.sendText("hello")
	}
	eventually(t, "the publisher to be held", func() bool { return srv.Stats().Held == 1 })
	time.Sleep(3 * tickEvery) // The clock does not resume it either.
	if l.len() != 0 {
		t.Errorf("%d messages were submitted", l.len())
	}
	srv.Replica().HoldPublishers(false)
	eventually(t, "all messages", func() bool { return l.len() == 10 })
}

// TestHoldTime: publishers that are held too long are closed with 1013; connections that do not publish stay open.
func TestHoldTime(t *testing.T) {
	srv, addr := (&line{}).add(t, Config{Replication: Replication{HoldTime: 3 * tickEvery}})
	quiet := dialPath(t, addr, "/news")
	first, parts := dialPath(t, addr, "/news"), dialPath(t, addr, "/news")
	srv.Replica().HoldPublishers(true)
	first.sendText("hello")
	parts.sendFrame(false, ws.OpText, []byte("one, "))
	parts.sendFrame(true, ws.OpContinuation, []byte("two"))
	for _, c := range []*client{first, parts} {
		c.expectClose(1013)
	}
	late := dialPath(t, addr, "/news")
	late.sendText("hello")
	late.expectClose(1013)
	quiet.sendFrame(true, ws.OpPing, []byte("still there"))
	quiet.expectFrame(ws.OpPong, "still there")
	srv.Replica().HoldPublishers(false)
	if st := srv.Stats(); st.Open > 4 || srv.cfg.Replication.Order.(*line).len() != 0 {
		t.Errorf("got %+v", st)
	}
}

// TestProtocolReasons: docs/protocol.md lists the reasons after which clients should reconnect.
func TestProtocolReasons(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	unwrapped := strings.Join(strings.Fields(string(text)), " ")
	for _, reason := range []string{errUnordered.Error(), errCrowded.Error(), errBehind.Reason} {
		if !strings.Contains(unwrapped, "`"+reason+"`") {
			t.Errorf("docs/protocol.md does not have the reason `%s`", reason)
		}
	}
}

// TestIDRuns: runs of IDs give the same answers as a list of all IDs.
func TestIDRuns(t *testing.T) {
	for range 300 {
		start, floor := rand.Uint64N(1000), rand.Uint64N(100)
		s := &channelIDs{floor: floor}
		var all []uint64
		id := floor
		for n := range rand.IntN(50) {
			if id++; rand.IntN(3) == 0 {
				id += rand.Uint64N(5)
			}
			all = append(all, id)
			s.extend(start+uint64(n), id)
		}
		first := 0
		if len(all) > 0 {
			first = rand.IntN(len(all))
		}
		s.trim(start + uint64(first))
		frames := start + uint64(len(all))
		for n := first; n < len(all); n++ {
			if got := s.at(start + uint64(n) + 1); got != all[n] {
				t.Fatalf("%v: the ID of message %d: got %d, want %d", s, n, got, all[n])
			}
		}
		if got := s.at(start + uint64(first)); first > 0 && got != all[first-1] || first == 0 && got != floor {
			t.Fatalf("%v: before %d: got %d", s, first, got)
		}
		low := floor
		if first > 0 {
			low = all[first-1]
		}
		for ask := low; ask < id+3; ask++ {
			want, _ := slices.BinarySearch(all, ask+1)
			if got := s.before(ask, frames); got != start+uint64(want) {
				t.Fatalf("%v: after %d: got %d, want %d", s, ask, got, start+uint64(want))
			}
		}
	}
}
