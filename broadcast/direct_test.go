package broadcast

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
)

// TestSend: one connection gets the message and no other, from hooks and from elsewhere, after what was published
// before and before what is published later.
func TestSend(t *testing.T) {
	conns := make(chan *Conn, 1)
	send := func(c *Conn, text string) {
		if err := c.Send(Message{Text, []byte(text)}); err != nil {
			t.Errorf("Send %s: %v", text, err)
		}
	}
	srv, addr := newServer(t, Config{
		Greeting: "hello",
		OnConnect: func(c *Conn, _ *http.Request) error {
			send(c, "one")
			send(c, "two")
			conns <- c
			return nil
		},
		OnMessage: func(c *Conn, m Message) (Message, bool) {
			send(c, "to "+string(m.Payload))
			return m, true
		},
	})
	a := dial(t, addr)
	conn := <-conns
	b := dial(t, addr)
	<-conns
	for _, c := range []*client{a, b} {
		for _, want := range []string{"hello", "one", "two"} {
			c.expectText(want)
		}
	}
	a.sendText("x")
	a.expectText("to x")
	a.expectText("x")
	for i := range 200 {
		publishTo(t, srv, "", fmt.Sprint("before ", i))
		send(conn, fmt.Sprint("direct ", i))
		publishTo(t, srv, "", fmt.Sprint("after ", i))
	}
	b.expectText("x")
	for i := range 200 {
		a.expectText(fmt.Sprint("before ", i))
		a.expectText(fmt.Sprint("direct ", i))
		a.expectText(fmt.Sprint("after ", i))
		b.expectText(fmt.Sprint("before ", i))
		b.expectText(fmt.Sprint("after ", i))
	}
	send(conn, "last")
	if err := conn.Close(1000, ""); err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(Message{Text, nil}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, ErrClosed)
	}
	a.expectText("last")
	a.expectClose(1000)
	a.Close()
	eventually(t, "its end", func() bool { return srv.Stats().Open == 1 })
	if err := conn.Send(Message{Text, nil}); !errors.Is(err, ErrClosed) {
		t.Errorf("at the end: got %v, want %v", err, ErrClosed)
	}
}

// TestSendForms: with IDs there is a line before the message, events have no ID, and the message is not compressed.
func TestSendForms(t *testing.T) {
	conns := make(chan *Conn, 1)
	srv, addr := newServer(t, Config{Compress: true, CompressMinBytes: 1,
		OnConnect: func(c *Conn, _ *http.Request) error { conns <- c; return nil }})
	long := strings.Repeat("x", 1000)
	send := func(m Message) {
		t.Helper()
		if err := (<-conns).Send(m); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, addr)
	c.send([]byte(headPlus("Sec-WebSocket-Protocol: crier.v1", "Sec-WebSocket-Extensions: permessage-deflate")))
	c.expectUpgrade()
	c.readFrame() // at:
	send(Message{Binary, []byte(long)})
	c.expectFrame(ws.OpBinary, "direct: -\n"+long)

	for m, want := range map[*Message]string{
		{Text, []byte("a\nb")}:   "data: a\ndata: b\n\n",
		{Binary, []byte("\x00")}: "event: binary\ndata: AA==\n\n",
	} {
		e := connect(t, addr)
		e.send([]byte("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"))
		body := bufio.NewReader(e.readResponse().Body)
		send(*m)
		publishTo(t, srv, "", "end")
		var got strings.Builder
		for !strings.Contains(got.String(), "data: end\n") {
			e.deadline()
			line, err := body.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			got.WriteString(line)
		}
		if !strings.Contains(got.String(), "\n\n"+want+"id: ") {
			t.Errorf("got the events %q, want %q among them", got.String(), want)
		}
	}
}

// openBench returns a bench whose connections accept direct messages.
func openBench(t *testing.T, cfg Config, conns int) *bench {
	b := newBench(t, cfg, conns)
	for _, c := range b.conns {
		c.set(opened)
	}
	return b
}

// sendTo sends text, which is posted to the shard.
func (b *bench) sendTo(c *Conn, text string) {
	b.t.Helper()
	if err := c.Send(Message{Text, []byte(text)}); err != nil {
		b.t.Fatalf("Send %s: %v", text, err)
	}
}

// TestSendBlocked: direct messages keep their places among the published ones while the socket is full.
func TestSendBlocked(t *testing.T) {
	b := openBench(t, Config{}, 1)
	c := b.conns[0]
	b.stall(3)
	b.publish("one")
	b.sendTo(c, "direct one")
	b.publish("two")
	b.sendTo(c, "direct two")
	b.run()
	b.publish("three")
	b.run()
	b.stall(1 << 30)
	b.writable(c)
	b.run()
	b.expect(0, texts("one", "direct one", "two", "direct two", "three"))
	if n := c.extra().unsent.Load(); n != 0 {
		t.Errorf("all is out: %d bytes are counted", n)
	}
}

// TestSendBusy: the bytes that wait for a peer that does not read are bounded, and no longer counted when they were
// sent.
func TestSendBusy(t *testing.T) {
	b := openBench(t, Config{}, 1)
	c := b.conns[0]
	b.stall(0)
	text := strings.Repeat("x", 1000)
	sent := 0
	for ; sent < 1000; sent++ {
		if err := c.Send(Message{Text, []byte(text)}); errors.Is(err, ErrBusy) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		b.run()
	}
	if sent < maxDirectBytes/1100 || sent > maxDirectBytes/1000+1 {
		t.Errorf("took %d messages of 1000 bytes, want about %d", sent, maxDirectBytes/1000)
	}
	b.stall(1 << 30)
	b.writable(c)
	b.run()
	var want []byte
	for range sent {
		want = append(want, texts(text)...)
	}
	b.expect(0, want)
	if n := c.extra().unsent.Load(); n != 0 {
		t.Errorf("all is out: %d bytes are counted", n)
	}
	b.sendTo(c, "again")
	b.run()
}

// TestSendClosed: when the connection is closed, a partly sent message is finished, the others are discarded, and
// none is counted any longer.
func TestSendClosed(t *testing.T) {
	b := openBench(t, Config{}, 1)
	c := b.conns[0]
	b.stall(3)
	b.sendTo(c, "half sent")
	b.run()
	b.sendTo(c, "dropped")
	b.run()
	b.shard.startClose(c, goingAway, ReasonShutdown)
	b.stall(1 << 30)
	b.writable(c)
	b.expect(0, append(texts("half sent"), goingAway...))
	if n := c.extra().unsent.Load(); n != 0 {
		t.Errorf("%d bytes are counted", n)
	}
}

// TestSendMemory: MemoryBytes bounds the direct messages of all connections together. Connections that end give their
// part back.
func TestSendMemory(t *testing.T) {
	conns := make(chan *Conn, 1)
	srv, addr := newServer(t, Config{MemoryBytes: 256 << 20, UnsentBytes: 4096,
		OnConnect: func(c *Conn, _ *http.Request) error { conns <- c; return nil }})
	most := srv.unfinished.most / 2
	big := Message{Binary, make([]byte, 1<<20)}
	var clients []*client
	busy := false
	for range most>>20 + 2 {
		clients = append(clients, dial(t, addr))
		c := <-conns
		for range 10 { // The first ones go into the socket.
			if err := c.Send(big); errors.Is(err, ErrBusy) {
				busy = true
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if n := srv.directBytes.Load(); n > most {
				t.Fatalf("%d bytes wait, want at most %d", n, most)
			}
		}
	}
	if !busy {
		t.Error("nothing was refused")
	}
	for _, c := range clients {
		c.Close()
	}
	eventually(t, "all to be given back", func() bool {
		return srv.directBytes.Load() == 0 && srv.unfinished.bytes.Load() == 0 && srv.Stats().Open == 0
	})
}

// TestSendThenRefused: a message to a connection that is refused afterwards is no longer counted.
func TestSendThenRefused(t *testing.T) {
	srv, addr := newServer(t, Config{MemoryBytes: 256 << 20, OnConnect: func(c *Conn, r *http.Request) error {
		if err := c.Send(Message{Text, []byte("not for you")}); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/panic" {
			panic("a hook")
		}
		return &Refusal{http.StatusForbidden, "no"}
	}})
	for range 3 {
		for _, path := range []string{"/refused", "/panic"} {
			c := connect(t, addr)
			c.send([]byte(headWith(baseLine, "GET "+path+" HTTP/1.1")))
			if path == "/refused" {
				if got := c.readResponse().StatusCode; got != http.StatusForbidden {
					t.Errorf("got %d, want 403", got)
				}
			}
			c.Close()
		}
	}
	eventually(t, "all to be given back", func() bool {
		return srv.directBytes.Load() == 0 && srv.unfinished.bytes.Load() == 0
	})
	eventually(t, "the table to be empty", func() bool { return countExtras(srv) == 0 })
}

// TestSendWhileEnding: calls of Send, Close and SetValue while a connection ends leave nothing behind.
func TestSendWhileEnding(t *testing.T) {
	var asking sync.WaitGroup
	began := make(chan struct{})
	srv, addr := newServer(t, Config{OnConnect: func(c *Conn, _ *http.Request) error {
		for range 3 {
			asking.Go(func() { // Ends with the connection, awaited below.
				for c.SetValue(1) == nil && c.Send(Message{Kind: Text}) == nil {
					runtime.Gosched()
				}
			})
		}
		began <- struct{}{}
		return nil
	}})
	for range 50 {
		c := connect(t, addr)
		c.send([]byte(handshakeHead))
		<-began
		c.Close()
	}
	asking.Wait()
	eventually(t, "the table to be empty", func() bool { return countExtras(srv) == 0 })
}

func countExtras(srv *Server) int {
	srv.extras.mu.RLock()
	defer srv.extras.mu.RUnlock()
	return len(srv.extras.byConn)
}

// TestSendConcurrent: many goroutines send, from before the connection is open until after it has ended. The messages
// of each goroutine keep their order.
func TestSendConcurrent(t *testing.T) {
	const senders, messages = 4, 200
	conns := make(chan *Conn, 1)
	srv, addr := newServer(t, Config{OnConnect: func(c *Conn, _ *http.Request) error { conns <- c; return nil }})
	for range 5 {
		c := dial(t, addr)
		conn := <-conns
		var all sync.WaitGroup
		for s := range senders {
			all.Go(func() {
				for i := range messages {
					err := ErrBusy
					for errors.Is(err, ErrBusy) {
						err = conn.Send(Message{Text, fmt.Appendf(nil, "%d %d", s, i)})
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		var next [senders]int
		for range senders * messages {
			var s, i int
			_, p, _ := c.readFrame()
			fmt.Sscan(string(p), &s, &i)
			if i != next[s] {
				t.Fatalf("of sender %d: got message %d, want %d", s, i, next[s])
			}
			next[s]++
		}
		all.Wait()
		c.Close()
	}
	eventually(t, "the ends", func() bool { return srv.Stats().Open == 0 })
}

func TestSendRefuses(t *testing.T) {
	conns := make(chan *Conn, 1)
	_, addr := newServer(t, Config{MaxMessageBytes: 10, OnConnect: func(c *Conn, _ *http.Request) error { conns <- c; return nil }})
	dial(t, addr)
	c := <-conns
	for _, tt := range []struct {
		m    Message
		want error
	}{
		{Message{Text, make([]byte, 11)}, ErrTooLarge}, {Message{Text, []byte("\xff")}, ErrNotText}, {Message{3, nil}, ErrKind},
	} {
		if err := c.Send(tt.m); !errors.Is(err, tt.want) {
			t.Errorf("got %v, want %v", err, tt.want)
		}
	}
}
