package follow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

func newServer(t *testing.T, cfg broadcast.Config) (*broadcast.Server, string) {
	t.Helper()
	cfg.CloseTimeout = 200 * time.Millisecond
	srv, addr := servertest.Start(t, servertest.Loopback, cfg)
	return srv, "ws://" + addr.String()
}

func publish(t *testing.T, srv *broadcast.Server, text string) {
	t.Helper()
	if _, err := srv.PublishTo(context.Background(), "news", broadcast.Message{Kind: broadcast.Text, Payload: []byte(text)}); err != nil {
		t.Error(err)
	}
}

var errEnough = errors.New("enough")

func config(url string) Config {
	return Config{URL: url + "/news", Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond, Silence: 20 * time.Second}
}

// TestComesBack: whatever closes the connection, each message comes once and in order.
func TestComesBack(t *testing.T) {
	srv, url := newServer(t, broadcast.Config{Channels: true, Greeting: "hi"})
	const messages = 300
	publish(t, srv, "0")
	got, lost := 0, 0
	cfg := config(url)
	cfg.Last = 1
	cfg.Lost = func(error, time.Duration) { lost++ }
	err := Follow(t.Context(), cfg, func(e Event) error {
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
		t.Errorf("got %v after %d messages, %d times lost", err, got, lost)
	}
}

// TestOtherEpoch: behind a restart, a gap is said, and it goes on.
func TestOtherEpoch(t *testing.T) {
	srv, url := newServer(t, broadcast.Config{Channels: true})
	publish(t, srv, "new")
	cfg := config(url)
	cfg.Since = "before-7"
	var got []string
	err := Follow(t.Context(), cfg, func(e Event) error {
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

// TestGivesUp: where there is no point in coming back, it says why.
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
	never := func(Event) error { return errors.New("got something") }
	if err := Follow(t.Context(), config(url), never); !errors.As(err, &fatal) || !strings.Contains(err.Error(), "403 Forbidden: not you") {
		t.Errorf("refused: got %v", err)
	}
	cfg := config(url)
	cfg.URL = "http://x/"
	if err := Follow(t.Context(), cfg, never); !errors.As(err, &fatal) {
		t.Errorf("no WebSocket: got %v", err)
	}
	refusing.Store(false)
	go func() { // Ends when it has been closed.
		for len(srv.Connections("news", 1)) == 0 {
			time.Sleep(time.Millisecond)
		}
		srv.Disconnect(srv.Connections("news", 1)[0].ID, 4000, "go away")
	}()
	if err := Follow(t.Context(), config(url), never); !errors.As(err, &fatal) || !strings.Contains(err.Error(), "4000: go away") {
		t.Errorf("closed: got %v", err)
	}
}

// TestWaits: a server that says when to come back is heeded, and one that is not there is asked
// again, until the caller has had enough.
func TestWaits(t *testing.T) {
	_, url := newServer(t, broadcast.Config{OnConnect: func(*broadcast.Conn, *http.Request) error {
		return &broadcast.Refusal{Status: http.StatusServiceUnavailable, Reason: "full"}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := config(url)
	cfg.Lost = func(err error, wait time.Duration) {
		if wait < 5*time.Second || !strings.Contains(err.Error(), "full") {
			t.Errorf("waits %v behind %v, want the 5 s that the server asks for", wait, err)
		}
		cancel()
	}
	if err := Follow(ctx, cfg, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	cfg = config("ws://127.0.0.1:1")
	tries := 0
	cfg.Lost = func(_ error, wait time.Duration) {
		if tries++; tries == 20 {
			cancel()
		}
		if wait > cfg.MaxBackoff {
			t.Errorf("waits %v, want at most %v", wait, cfg.MaxBackoff)
		}
	}
	if err := Follow(ctx, cfg, nil); !errors.Is(err, context.Canceled) || tries != 20 {
		t.Errorf("got %v after %d tries", err, tries)
	}
}
