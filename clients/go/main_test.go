package crier

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/docfiles"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// TestDocFiles: doc.go names every file of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }

// newServer starts a server until the test is over, and returns it with its URL.
func newServer(t *testing.T, cfg broadcast.Config) (*broadcast.Server, string) {
	t.Helper()
	cfg.CloseTimeout = 200 * time.Millisecond
	srv, addr := servertest.Start(t, servertest.Loopback, cfg)
	return srv, "ws://" + addr.String()
}

// publish publishes a text to the channel news.
func publish(t *testing.T, srv *broadcast.Server, text string) {
	t.Helper()
	m := broadcast.Message{Kind: broadcast.Text, Payload: []byte(text)}
	if _, err := srv.PublishTo(context.Background(), "news", m); err != nil {
		t.Error(err)
	}
}

// errEnough is what the tests' functions return when they have all events that they want.
var errEnough = errors.New("enough")

// newsConfig returns a Config for the channel news of the server at url, with short waits.
func newsConfig(url string) Config {
	return Config{URL: url + "/news", Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond, Silence: 20 * time.Second}
}

// follow makes a client and follows with it.
func follow(t *testing.T, ctx context.Context, cfg Config, f func(Event) error) error {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c.Follow(ctx, f)
}
