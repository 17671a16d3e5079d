package broadcast

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEventsUserTimeout: the kernel ends a connection for server-sent events whose peer acknowledges nothing, since no
// pings show that.
func TestEventsUserTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]int{12345 * time.Millisecond: 12345, -1: 0} {
		fds := make(chan int, 1)
		_, addr := newServer(t, Config{
			PingInterval: time.Second, PingTimeout: timeout,
			OnConnect: func(c *Conn, _ *http.Request) error { fds <- int(c.fd); return nil },
		})
		c := connect(t, addr)
		c.send([]byte("GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"))
		if r := c.readResponse(); r.StatusCode != http.StatusOK {
			t.Fatalf("got status %d, want 200", r.StatusCode)
		}
		got, err := unix.GetsockoptInt(<-fds, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || got != want {
			t.Errorf("PingTimeout %v: got %d ms, error %v, want %d ms", timeout, got, err, want)
		}
	}
}

// TestAbortedConnectionsAreReset: the kernel frees what it holds for a peer that does not read.
func TestAbortedConnectionsAreReset(t *testing.T) {
	inAFrame := func(b *bench) {
		b.stall(5)
		b.publish(first)
		b.run()
	}
	tests := []struct {
		name string
		end  func(b *bench, c *Conn)
	}{
		{"no answer to pings", func(b *bench, c *Conn) {
			for i := range uint32(4) {
				if c.phase == phaseOpen {
					b.shard.visit(c, 1+i*milliseconds(b.shard.srv.cfg.PingInterval))
				}
			}
		}},
		{"lapped in a frame", func(b *bench, _ *Conn) {
			inAFrame(b)
			b.lap()
		}},
		{"lapped in a frame while closing", func(b *bench, c *Conn) {
			inAFrame(b)
			b.shard.startClose(c, appendClose(nil, 1000, ""), ReasonPeerClosed)
			b.lap()
			b.stall(1 << 30)
			b.writable(c)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{RetainBytes: minRetain, PingInterval: 30 * time.Second}, 1)
			ln, err := Listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			client := connect(t, ln.Addr().String())
			server, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			fd, err := dup(server, "connection")
			if err != nil {
				t.Fatal(err)
			}
			server.Close()
			c := b.conns[0]
			c.fd = int32(fd)
			tt.end(b, c)
			if c.phase != phaseNone {
				t.Errorf("got phase %d, want none", c.phase)
			}
			unix.Close(fd) // The poller, which does not know it, would.
			client.deadline()
			if _, err := client.br.ReadByte(); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("its peer reads %v, want %v", err, unix.ECONNRESET)
			}
		})
	}
}

// reserveOnly is a kernel in which the listener's reserve is the only fd.
type reserveOnly struct {
	kernel
	listener *listener
}

func (k *reserveOnly) accept4(fd int) (int, unix.Errno) {
	if k.listener.reserve >= 0 {
		return -1, unix.EMFILE
	}
	return k.kernel.accept4(fd)
}

// TestShedAllThatWait: one event may announce many connections, so one turn sheds all of them.
func TestShedAllThatWait(t *testing.T) {
	var k reserveOnly
	srv, l := newUnserved(t, &k)
	k.listener = l
	defer func() { unix.Close(k.listener.reserve) }()
	var clients []*client
	for range 3 {
		clients = append(clients, connect(t, l.ln.Addr().String()))
	}
	for k.listener.accept() {
	}
	if got := srv.Stats().Shed; got != 3 {
		t.Fatalf("shed: got %d, want 3", got)
	}
	for i, c := range clients {
		c.deadline()
		if _, err := c.br.ReadByte(); err != io.EOF && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("connection %d: got %v, want it closed", i, err)
		}
	}
}
