package crier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestSend: what a client sends comes back to it, text as text and binary as binary, in order.
func TestSend(t *testing.T) {
	_, url := newServer(t, broadcast.Config{Channels: true})
	c, err := New(newsConfig(url))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), "early"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("before Follow: got %v, want %v", err, ErrNotConnected)
	}
	const messages = 1000
	c.cfg.Connected = func() {
		if err := c.SendBinary(t.Context(), []byte("0")); err != nil {
			t.Error(err)
		}
	}
	got := 0
	err = c.Follow(t.Context(), func(e Event) error {
		if want := fmt.Sprint(got); string(e.Payload) != want || e.Binary != (got == 0) {
			t.Errorf("got %q, binary %t, want %s", e.Payload, e.Binary, want)
		}
		if got++; got == messages {
			return errEnough
		}
		if err := c.Follow(t.Context(), nil); !errors.Is(err, ErrFollowing) {
			t.Errorf("a second Follow: got %v, want %v", err, ErrFollowing)
		}
		return c.Send(t.Context(), fmt.Sprint(got))
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("got %v after %d messages", err, got)
	}
	if err := c.Send(t.Context(), "late"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("after Follow: got %v, want %v", err, ErrNotConnected)
	}
}

// TestSendThenLeave: what was sent before Follow ended is published, although much is unread then.
func TestSendThenLeave(t *testing.T) {
	srv, url := newServer(t, broadcast.Config{Channels: true})
	c, err := New(newsConfig(url))
	if err != nil {
		t.Fatal(err)
	}
	const messages = 2000
	c.cfg.Connected = func() {
		for range messages {
			if err := c.Send(t.Context(), "hello"); err != nil {
				t.Error(err)
			}
		}
	}
	err = c.Follow(t.Context(), func(Event) error { return errEnough })
	if got := srv.Stats().Messages; !errors.Is(err, errEnough) || got != messages {
		t.Errorf("got %v, and %d messages published, want %d", err, got, messages)
	}
}

// TestSendThenCancel: a callback that sends and cancels its context: the client still waits for the end of the closing
// handshake, so that the message is not lost.
func TestSendThenCancel(t *testing.T) {
	const looks = 50 * time.Millisecond // Much less than leaveTimeout.
	url := serveScript(t, func(_ int, _ string, conn net.Conn) {
		_ = wsutil.WriteServerText(conn, []byte("id: e-1\nhello"))
		for range 2 { // The message, and the close frame.
			if _, err := ws.ReadHeader(conn); err != nil {
				t.Error(err)
				return
			}
			_, _ = io.CopyN(io.Discard, conn, 2) // Both payloads have two bytes.
		}
		_ = conn.SetReadDeadline(time.Now().Add(looks))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("before the server has answered the close: got %v, want an open connection", err)
		}
	})
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		client, err := New(newsConfig(url))
		if err != nil {
			t.Fatal(err)
		}
		err = client.Follow(ctx, func(Event) error {
			err := client.Send(ctx, "ok")
			cancel()
			return err
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want %v", err, context.Canceled)
		}
	}
}

// TestSendRefused: a client that may not publish learns why it is closed, and waits for its longest wait at least.
func TestSendRefused(t *testing.T) {
	_, url := newServer(t, broadcast.Config{Channels: true, ReceiveOnly: true})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := newsConfig(url)
	var closed *ClosedError
	var waited time.Duration
	cfg.Lost = func(err error, wait time.Duration) {
		errors.As(err, &closed)
		waited = wait
		cancel()
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.cfg.Connected = func() { _ = c.Send(t.Context(), "hello") }
	if err := c.Follow(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if closed == nil || closed.Code != 1008 || waited < cfg.MaxBackoff {
		t.Errorf("got %v, and a wait of %v, want 1008 and at least %v", closed, waited, cfg.MaxBackoff)
	}
}

// TestSendConcurrently: several goroutines send while connections come and go. Each message that Send took from a
// goroutine arrives at most once, in the order of that goroutine's calls.
func TestSendConcurrently(t *testing.T) {
	srv, url := newServer(t, broadcast.Config{Channels: true})
	c, err := New(newsConfig(url))
	if err != nil {
		t.Fatal(err)
	}
	const senders, messages = 4, 200
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() { // Ends with its last message, or with ctx.
			for n := 0; n < messages && ctx.Err() == nil; {
				if c.Send(ctx, fmt.Sprint(s, " ", n)) == nil {
					n++
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { // Ends after the senders, and is awaited below.
		defer close(finished)
		wg.Wait()
		publish(t, srv, "end")
	}()
	last := [senders]int{-1, -1, -1, -1}
	count := 0
	err = c.Follow(ctx, func(e Event) error {
		if string(e.Payload) == "end" {
			return errEnough
		}
		var s, n int
		if _, err := fmt.Sscan(string(e.Payload), &s, &n); err != nil {
			return err
		}
		if n <= last[s] {
			return fmt.Errorf("sender %d: got %d after %d", s, n, last[s])
		}
		last[s] = n
		if count++; count%100 == 0 {
			for _, conn := range srv.Connections("news", 10) {
				srv.Disconnect(conn.ID, 1012, "restarting")
			}
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("got %v after %d messages", err, count)
	}
	cancel()
	<-finished
}
