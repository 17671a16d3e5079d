package crier

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// TestReconnect: whatever closes the connection, each message arrives once and in order.
func TestReconnect(t *testing.T) {
	srv, url := newServer(t, broadcast.Config{Channels: true, Greeting: "hi"})
	const messages = 300
	publish(t, srv, "0")
	got, lost := 0, 0
	cfg := newsConfig(url)
	cfg.Last = 1
	cfg.Lost = func(error, time.Duration) { lost++ }
	err := follow(t, t.Context(), cfg, func(e Event) error {
		if want := fmt.Sprint(got); string(e.Payload) != want || e.From != "" || !strings.HasSuffix(e.ID, fmt.Sprint("-", got+1)) {
			t.Errorf("got %+v %q, want %s", e, e.Payload, want)
		}
		if got++; got == messages {
			return errEnough
		}
		publish(t, srv, fmt.Sprint(got))
		if got%10 == 0 {
			for _, c := range srv.Connections("news", 10) {
				srv.Disconnect(c.ID, 1012, "restarting")
			}
		}
		return nil
	})
	if err != errEnough || got != messages || lost < 10 {
		t.Errorf("got %v after %d messages, lost %d times", err, got, lost)
	}
}

// TestOtherEpoch: after a restart of the server, the client reports a gap and continues.
func TestOtherEpoch(t *testing.T) {
	srv, url := newServer(t, broadcast.Config{Channels: true})
	publish(t, srv, "new")
	cfg := newsConfig(url)
	cfg.Since = "before-7"
	var got []string
	err := follow(t, t.Context(), cfg, func(e Event) error {
		got = append(got, e.From+"|"+string(e.Payload))
		if e.ID != "" {
			return errEnough
		}
		return nil
	})
	if err != errEnough || !slices.Equal(got, []string{"before-7|", "|new"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestGivesUp: the client gives up where another try would fail in the same way, and reports why.
func TestGivesUp(t *testing.T) {
	var refusing atomic.Bool
	refusing.Store(true)
	srv, url := newServer(t, broadcast.Config{Channels: true, OnConnect: func(*broadcast.Conn, *http.Request) error {
		if !refusing.Load() {
			return nil
		}
		return &broadcast.Refusal{Status: http.StatusForbidden, Reason: "not you"}
	}})
	var fatal *FatalError
	never := func(Event) error { return errors.New("got an event") }
	if err := follow(t, t.Context(), newsConfig(url), never); !errors.As(err, &fatal) || !strings.Contains(err.Error(), "403 Forbidden: not you") {
		t.Errorf("refused: got %v", err)
	}
	refusing.Store(false)
	go func() { // Ends when it has been closed.
		for len(srv.Connections("news", 1)) == 0 {
			time.Sleep(time.Millisecond)
		}
		srv.Disconnect(srv.Connections("news", 1)[0].ID, 4000, "go away")
	}()
	if err := follow(t, t.Context(), newsConfig(url), never); !errors.As(err, &fatal) || !strings.Contains(err.Error(), "4000: go away") {
		t.Errorf("closed: got %v", err)
	}
}

// TestWaits: the client waits for Retry-After, and tries again where no server listens, until its context is done.
func TestWaits(t *testing.T) {
	_, url := newServer(t, broadcast.Config{OnConnect: func(*broadcast.Conn, *http.Request) error {
		return &broadcast.Refusal{Status: http.StatusServiceUnavailable, Reason: "full"}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := newsConfig(url)
	cfg.Lost = func(err error, wait time.Duration) {
		if wait < 5*time.Second || !strings.Contains(err.Error(), "full") {
			t.Errorf("waits %v after %v, want the 5 s that the server asks for", wait, err)
		}
		cancel()
	}
	if err := follow(t, ctx, cfg, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	cfg = newsConfig("ws://127.0.0.1:1")
	tries := 0
	cfg.Lost = func(_ error, wait time.Duration) {
		if tries++; tries == 20 {
			cancel()
		}
		if wait > cfg.MaxBackoff {
			t.Errorf("waits %v, want at most %v", wait, cfg.MaxBackoff)
		}
	}
	if err := follow(t, ctx, cfg, nil); !errors.Is(err, context.Canceled) || tries != 20 {
		t.Errorf("got %v after %d tries", err, tries)
	}
}
