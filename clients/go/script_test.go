package crier

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// patience is how long a scripted server waits. It measures nothing.
const patience = time.Minute

// serveScript accepts connections one after the other until the test is over, and calls serve for each after the
// handshake. It returns the address.
func serveScript(t *testing.T, serve func(n int, query string, conn net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // Ends when ln is closed, and is awaited below.
		defer close(ended)
		for n := 0; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			var query string
			_, err = ws.Upgrader{
				Protocol:  func([]byte) bool { return true },
				OnRequest: func(uri []byte) error { _, query, _ = strings.Cut(string(uri), "?"); return nil },
			}.Upgrade(conn)
			if err == nil {
				serve(n, query, conn)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return "ws://" + ln.Addr().String()
}

// TestPosition: the client reconnects after the newest message or the end of a gap. The first line of a connection
// moves it only if it has no ID: a gap may follow.
func TestPosition(t *testing.T) {
	var queries []string
	scripts := [][]string{
		{"at: e-5\n"},
		{"at: e-9\n"},
		{"at: e-9\n", "gap: e-5 e-9\n", "later: anything\n"},
		{"at: e-9\n", "direct: -\nhello"},
		{"at: e-9\n", "id: e-10\nhello"},
		{},
	}
	ctx, cancel := context.WithCancel(t.Context())
	url := serveScript(t, func(n int, query string, conn net.Conn) {
		queries = append(queries, query)
		for _, text := range scripts[n] {
			_ = wsutil.WriteServerText(conn, []byte(text))
		}
		if n == len(scripts)-1 {
			cancel()
		}
	})
	cfg := newsConfig(url)
	cfg.URL += "?last=7&x=1"
	err := follow(t, ctx, cfg, func(Event) error { return nil })
	want := []string{"x=1", "since=e-5&x=1", "since=e-5&x=1", "since=e-9&x=1", "since=e-9&x=1", "since=e-10&x=1"}
	if !errors.Is(err, context.Canceled) || !slices.Equal(queries, want) {
		t.Errorf("got %q, %v, want %q", queries, err, want)
	}
}

// TestMalformed: a server that does not speak crier.v1 is left for good.
func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "hello", "id e-1\nhello", "gap: e-1\n"} {
		url := serveScript(t, func(_ int, _ string, conn net.Conn) {
			_ = wsutil.WriteServerText(conn, []byte(text))
			_, _ = conn.Read(make([]byte, 1))
		})
		var fatal *FatalError
		if err := follow(t, t.Context(), newsConfig(url), func(Event) error { return nil }); !errors.As(err, &fatal) {
			t.Errorf("%q: got %v, want a FatalError", text, err)
		}
	}
}

// TestPong: the client answers pings, while a message is incomplete as well, and the server's close frame.
func TestPong(t *testing.T) {
	answers := make(chan ws.Frame, 3)
	url := serveScript(t, func(_ int, _ string, conn net.Conn) {
		in := bufio.NewReader(conn)
		exchange := func(frames ...ws.Frame) {
			for _, f := range frames {
				_ = ws.WriteFrame(conn, f)
			}
			h, err := ws.ReadHeader(in)
			if err != nil || h.Length > 125 {
				t.Errorf("got %+v, %v, want a control frame", h, err)
			}
			f := ws.Frame{Header: h, Payload: make([]byte, min(h.Length, 125))}
			if _, err := io.ReadFull(in, f.Payload); err != nil {
				t.Error(err)
			}
			answers <- ws.UnmaskFrame(f)
		}
		exchange(ws.NewPingFrame([]byte("one")))
		exchange(ws.NewFrame(ws.OpText, false, []byte("id: e-1\nhel")), ws.NewPingFrame(nil))
		exchange(ws.NewFrame(ws.OpContinuation, true, []byte("lo")), ws.NewCloseFrame(ws.NewCloseFrameBody(4000, "go away")))
	})
	var text string
	err := follow(t, t.Context(), newsConfig(url), func(e Event) error {
		text = string(e.Payload)
		return nil
	})
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Code != 4000 || closed.Reason != "go away" || text != "hello" {
		t.Errorf("got %v and %q", err, text)
	}
	got := []ws.Frame{<-answers, <-answers, <-answers}
	if got[0].Header.OpCode != ws.OpPong || string(got[0].Payload) != "one" ||
		got[1].Header.OpCode != ws.OpPong || len(got[1].Payload) != 0 ||
		got[2].Header.OpCode != ws.OpClose || string(got[2].Payload) != "\x0f\xa0" {
		t.Errorf("got %+v", got)
	}
}

// TestSilence: a connection on which nothing arrives is dead.
func TestSilence(t *testing.T) {
	url := serveScript(t, func(_ int, _ string, conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1)) // Until the client closes.
	})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := newsConfig(url)
	cfg.Silence = 10 * time.Millisecond
	var lost error
	cfg.Lost = func(err error, _ time.Duration) { lost = err; cancel() }
	if err := follow(t, ctx, cfg, nil); !errors.Is(err, context.Canceled) || !errors.Is(lost, ErrLost) {
		t.Errorf("got %v, lost for %v", err, lost)
	}
}

// TestSendBlocked: while the server reads nothing, Send blocks until its context is done, other calls wait for it no
// longer than their own contexts, and Follow keeps receiving.
func TestSendBlocked(t *testing.T) {
	release := make(chan struct{})
	url := serveScript(t, func(n int, _ string, conn net.Conn) {
		if n == 0 {
			_ = conn.(*net.TCPConn).SetReadBuffer(4096)
			_ = ws.WriteFrame(conn, ws.NewPingFrame(nil))
			<-release
			_ = ws.WriteFrame(conn, ws.NewPingFrame(nil))
			_ = wsutil.WriteServerText(conn, []byte("id: e-1\nhello"))
		}
		<-t.Context().Done()
	})
	cfg := newsConfig(url)
	connected, lost := make(chan struct{}, 10), make(chan error, 10)
	cfg.Connected = func() { connected <- struct{}{} }
	cfg.Lost = func(err error, _ time.Duration) { lost <- err }
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	received, ended := make(chan struct{}), make(chan error, 1)
	go func() { // Ends with ctx, and is awaited below.
		ended <- c.Follow(ctx, func(Event) error { close(received); return nil })
	}()
	<-connected
	conn := c.conn.Load()
	_ = conn.conn.(*net.TCPConn).SetWriteBuffer(4096)
	long, cancelLong := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	go func() { sent <- c.SendBinary(long, make([]byte, 1<<20)) }() // Ends with long.
	criertest.Eventually(t, "a Send that writes", func() bool { return len(conn.turn) == 1 })
	short, cancelShort := context.WithCancel(t.Context())
	go cancelShort()
	if err := c.Send(short, "waits"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	close(release)
	<-received
	cancelLong()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if err := <-lost; !errors.Is(err, ErrLost) {
		t.Errorf("got %v, want %v", err, ErrLost)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow: got %v, want %v", err, context.Canceled)
	}
}

// TestHeader: the handshake has the fields of Config, and a token of its own for each connection.
func TestHeader(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := newsConfig("ws://" + ln.Addr().String())
	cfg.Header = http.Header{"Cookie": {"a=b"}}
	cfg.Token = func(context.Context) (string, error) { return "secret", nil }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- follow(t, ctx, cfg, nil) }() // Ends with ctx, and is awaited below.
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ended
	if req.Header.Get("Cookie") != "a=b" || req.Header.Get("Authorization") != "Bearer secret" {
		t.Errorf("got %v", req.Header)
	}
	if len(cfg.Header) != 1 {
		t.Errorf("the client has changed Config.Header to %v", cfg.Header)
	}
}
