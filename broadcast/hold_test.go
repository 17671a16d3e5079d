package broadcast

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// slowSockets makes every write of a broadcast slow: a server that is behind,
// with consumers that are not.
type slowSockets struct {
	kernel
	delay time.Duration
}

func (k *slowSockets) send(fd int, pieces [][]byte) (int, unix.Errno) {
	time.Sleep(k.delay) // The fault that this test is about.
	return k.kernel.send(fd, pieces)
}

// TestSlowShard publishes far more, and far faster, than a slow shard can fan
// out. Healthy consumers lose nothing, since publishers are held; a consumer
// that does not read is lapped all the same.
func TestSlowShard(t *testing.T) {
	srv, addr := newServer(t, Config{
		Shards: 1, RetainBytes: minRetain, sockets: &slowSockets{delay: 2 * time.Millisecond},
	})
	const publishers, messages, size = 4, 100, 8 << 10
	var healthy [3]*client
	for i := range healthy {
		healthy[i] = dial(t, addr)
	}
	stalled := dial(t, addr)
	if err := stalled.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for id := range publishers {
		c := dial(t, addr)
		wg.Go(func() { _, _ = c.br.WriteTo(discard{}) }) // Publishers are receivers too.
		wg.Go(func() {
			payload := bytes.Repeat([]byte{'p'}, size)
			for i := range messages {
				binary.BigEndian.PutUint32(payload, uint32(id))
				binary.BigEndian.PutUint32(payload[4:], uint32(i))
				if _, err := c.Write(clientFrame(nil, true, ws.OpBinary, payload)); err != nil {
					t.Errorf("publisher %d: %v", id, err)
					return
				}
			}
		})
	}
	var served sync.WaitGroup
	for _, c := range healthy {
		served.Go(func() { expectAll(t, c, publishers, messages) })
	}
	eventually(t, "the stalled one to be lapped", func() bool {
		return srv.Stats().Disconnects["slow"] == 1
	})
	eventually(t, "all messages to be published", func() bool {
		return srv.Stats().Messages == publishers*messages
	})
	served.Wait() // Without a DrainTime Shutdown waits for nobody.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil { // Ends the publishers' reading, too.
		t.Errorf("Shutdown: got %v, want nil", err)
	}
	wg.Wait()
	if st := srv.Stats(); st.Holds == 0 {
		t.Error("no publisher was ever held: the test shows nothing")
	} else if st.Held != 0 {
		t.Errorf("held at the end: got %d, want 0", st.Held)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// expectAll reads all messages of all publishers, each one's in order.
func expectAll(t *testing.T, c *client, publishers, messages int) {
	next := make([]uint32, publishers)
	for range publishers * messages {
		_ = c.SetReadDeadline(time.Now().Add(2 * patience))
		h, err := ws.ReadHeader(c.br)
		payload := make([]byte, min(h.Length, 1<<20))
		if err == nil {
			_, err = io.ReadFull(c.br, payload)
		}
		if err != nil || h.OpCode != ws.OpBinary || len(payload) < 8 {
			t.Errorf("healthy consumer: got frame %+v, error %v; had %v of each", h, err, next)
			return
		}
		id, seq := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])
		if next[id] != seq {
			t.Errorf("healthy consumer: got message %d of publisher %d, want %d", seq, id, next[id])
			return
		}
		next[id]++
	}
}

// gateSockets lets no message through until the gate opens.
type gateSockets struct {
	kernel
	gate chan struct{}
}

func (k *gateSockets) send(fd int, pieces [][]byte) (int, unix.Errno) {
	<-k.gate
	return k.kernel.send(fd, pieces)
}

func TestPublishWaitsForTheServer(t *testing.T) {
	gate := make(chan struct{})
	srv, addr := newServer(t, Config{Shards: 1, RetainBytes: minRetain, sockets: &gateSockets{gate: gate}})
	c := connect(t, addr)
	c.send([]byte(handshakeHead))
	eventually(t, "the handshake", func() bool { return srv.Stats().Open == 1 })

	m := Message{Binary, make([]byte, 1<<10)}
	published := 0
	for ; !srv.root.behind.Load(); published++ {
		if err := srv.Publish(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make(chan error)
	go func() { waiting <- srv.Publish(ctx, m) }()
	go func() { waiting <- srv.Publish(context.Background(), m) }()
	select {
	case err := <-waiting:
		t.Fatalf("Publish returned %v while the server is behind", err)
	default:
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("Publish with a cancelled context: got %v, want %v", err, context.Canceled)
	}
	close(gate)
	if err := <-waiting; err != nil {
		t.Errorf("Publish once the server has caught up: got %v, want nil", err)
	}
	c.expectUpgrade()
	for range published + 1 {
		c.expectFrame(ws.OpBinary, string(m.Payload))
	}
}

func TestPublishErrors(t *testing.T) {
	srv, _ := newServer(t, Config{MaxMessageBytes: 10})
	tests := []struct {
		name string
		m    Message
		want error
	}{
		{"largest", Message{Text, []byte("0123456789")}, nil},
		{"empty", Message{Binary, nil}, nil},
		{"too large", Message{Text, []byte("0123456789a")}, ErrTooLarge},
		{"text that is not UTF-8", Message{Text, []byte{0xff}}, ErrNotText},
		{"any bytes as binary", Message{Binary, []byte{0xff}}, nil},
		{"no kind", Message{}, ErrKind},
		{"kind of a control frame", Message{Kind(ws.OpClose), nil}, ErrKind},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := srv.Publish(context.Background(), tt.m); !errors.Is(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestHoldWhenItHasCaughtUp: who comes to wait when the last shard has just caught up goes on:
// nobody else would see to it.
func TestHoldWhenItHasCaughtUp(t *testing.T) {
	var conn atomic.Pointer[Conn]
	srv, addr := newServer(t, Config{OnConnect: func(c *Conn, _ *http.Request) error {
		conn.Store(c)
		return nil
	}})
	client := dial(t, addr)
	c := conn.Load()
	eventually(t, "its turn", func() bool { return c.acquire(0) })
	srv.hold(c)
	client.sendText("go on")
	client.expectText("go on")
	if n := srv.Stats().Held; n != 0 {
		t.Errorf("%d are held", n)
	}
}
