package broadcast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestShutdown(t *testing.T) {
	srv, addr := newServer(t, Config{DrainTime: 100 * time.Millisecond})
	var clients []*client
	for range 5 {
		clients = append(clients, dial(t, addr))
	}
	late := connect(t, addr) // Accepted, but its handshake is to come.
	eventually(t, "the late one to be accepted", func() bool { return srv.Stats().Handshakes == 1 })
	if err := srv.Publish(context.Background(), Message{Text, []byte("last words")}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- srv.Shutdown(ctx)
	}()
	for i, c := range clients {
		c.expectText("last words")
		c.expectClose(ws.StatusGoingAway)
		if i == 0 {
			late.send([]byte(handshakeHead))
			if r := late.readResponse(); r.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("handshake while draining: got %d, want 503", r.StatusCode)
			}
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				t.Error("a connection was accepted while draining")
			}
		}
	}
	for _, c := range clients {
		c.sendFrame(true, ws.OpClose, []byte{0x03, 0xe9})
		c.expectEOF()
		c.Close()
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: got %v, want nil", err)
	}
	if got := srv.Stats().Disconnects["shutdown"]; got != 5 {
		t.Errorf("disconnects for shutdown: got %d, want 5", got)
	}
	if err := srv.Publish(context.Background(), Message{Text, nil}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Publish after Shutdown: got %v, want %v", err, ErrServerClosed)
	}
	if err := srv.Shutdown(context.Background()); !errors.Is(err, ErrServerClosed) {
		t.Errorf("second Shutdown: got %v, want %v", err, ErrServerClosed)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(ln); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Shutdown: got %v, want %v", err, ErrServerClosed)
	}
}

// TestShutdownPublishes: what a client sends until it has seen the close frame is published. The stream to it does
// not end before it has answered, because a proxy would then end the other direction, too.
func TestShutdownPublishes(t *testing.T) {
	srv, addr := newServer(t, Config{})
	c := dial(t, addr)
	done := make(chan error)
	go func() { done <- srv.Shutdown(t.Context()) }()
	c.expectClose(ws.StatusGoingAway)
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if b, err := c.br.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("behind the close frame: got %#x, %v, want nothing for now", b, err)
	}
	c.sendText("on its way")
	c.sendFrame(true, ws.OpClose, []byte{0x03, 0xe9})
	c.expectEOF()
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := srv.Stats().Messages; got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
}

func TestShutdownCutsOff(t *testing.T) {
	srv, addr := newServer(t, Config{CloseTimeout: time.Hour})
	mute := dial(t, addr) // Never answers the close.
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Shutdown(ctx) }()
	mute.expectClose(ws.StatusGoingAway)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got := srv.Stats().Open; got != 0 {
		t.Errorf("open after Shutdown: got %d, want 0", got)
	}
}

func TestDrainIsPaced(t *testing.T) {
	const conns = 10_000
	b := newBench(t, Config{DrainTime: 5 * time.Second}, conns)
	now := b.shard.srv.clock()
	b.shard.srv.drainBegan.Store(now)
	for elapsed := uint32(0); elapsed <= 5000; elapsed += 100 {
		b.shard.drain(now + elapsed)
		want := max(1, conns*int(elapsed)/5000)
		if got := len(b.shard.closing); got != want {
			t.Fatalf("after %d ms: got %d closing, want %d", elapsed, got, want)
		}
	}
}

func TestDrainOfAFew(t *testing.T) {
	b := newBench(t, Config{DrainTime: time.Hour}, 10)
	now := b.shard.srv.clock()
	b.shard.srv.drainBegan.Store(now)
	b.shard.drain(now + 10)
	if got := len(b.shard.closing); got != 10 {
		t.Errorf("after 10 ms: got %d closing, want 10: a thousand a second are not held back", got)
	}
}

func TestDrainLetsASlowOneFinish(t *testing.T) {
	b := newBench(t, Config{DrainTime: time.Second}, 1)
	c := b.conns[0]
	b.stall(3)
	b.publish("one", "two")
	b.run()
	now := b.shard.srv.clock()
	b.shard.srv.drainBegan.Store(now)
	b.shard.drain(now + 900)
	if c.phase != phaseOpen {
		t.Fatal("closed before it got what was published")
	}
	b.stall(1 << 30)
	b.writable(c)
	b.shard.drain(now + 950)
	b.expect(0, append(texts("one", "two"), goingAway...))
}

// TestDrainAfterAPass: what was published between a shard's pass and the beginning of the
// drain goes out.
func TestDrainAfterAPass(t *testing.T) {
	b := newBench(t, Config{DrainTime: time.Second}, 1)
	b.publish("one")
	b.run()
	b.publish("two")
	now := b.shard.srv.clock()
	b.shard.srv.drainBegan.Store(now)
	b.shard.drain(now + 900)
	b.run()
	b.publish("after")
	b.shard.drain(now + 950)
	b.expect(0, append(texts("one", "two"), goingAway...))
}

func TestHooksOfAConnection(t *testing.T) {
	var mu sync.Mutex
	ended := make(map[*Conn]Reason)
	var met atomic.Pointer[Conn]
	srv, addr := newServer(t, Config{
		OnConnect: func(c *Conn, r *http.Request) error {
			if r.URL.Path == "/refuse" {
				return &Refusal{http.StatusTeapot, "no"}
			}
			if !c.RemoteAddr().IsValid() || r.RemoteAddr != c.RemoteAddr().String() {
				return fmt.Errorf("remote address %v, %q", c.RemoteAddr(), r.RemoteAddr)
			}
			met.Store(c)
			return nil
		},
		OnMessage: func(c *Conn, m Message) (Message, bool) {
			switch string(m.Payload) {
			case "panic":
				panic("as asked")
			case "nothing":
				return m, false
			case "bad":
				return Message{Text, []byte{0xff}}, true
			}
			return Message{Text, append([]byte("re: "), m.Payload...)}, true
		},
		OnDisconnect: func(c *Conn, why Reason) {
			mu.Lock()
			defer mu.Unlock()
			ended[c] = why
		},
	})
	c := dial(t, addr)
	c.sendText("nothing")
	c.sendText("bad")
	c.sendText("hello")
	c.expectText("re: hello")
	c.sendText("panic")
	c.expectClose(ws.StatusInternalServerError)
	c.expectEOF()
	c.Close()
	eventually(t, "OnDisconnect", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ended[met.Load()] == ReasonInternal && len(ended) == 1
	})
	if got := srv.Stats().Open; got != 0 {
		t.Errorf("open: got %d, want 0", got)
	}
}

func TestPanicInOnConnect(t *testing.T) {
	srv, addr := newServer(t, Config{OnConnect: func(*Conn, *http.Request) error { panic("as asked") }})
	for range 3 {
		c := connect(t, addr)
		c.send([]byte(handshakeHead))
		c.deadline()
		if _, err := c.br.ReadByte(); err == nil {
			t.Fatal("got an answer, want the connection closed")
		}
	}
	if st := srv.Stats(); st.Open != 0 || st.Handshakes != 0 {
		t.Errorf("open %d, handshakes %d, want 0, 0", st.Open, st.Handshakes)
	}
}

func TestPanicInOnDisconnect(t *testing.T) {
	srv, addr := newServer(t, Config{OnDisconnect: func(*Conn, Reason) { panic("as asked") }})
	for range 3 {
		dial(t, addr).Close()
	}
	eventually(t, "all to be gone", func() bool { st := srv.Stats(); return st.Upgraded == 3 && st.Open == 0 })
	dial(t, addr) // It still serves.
}
