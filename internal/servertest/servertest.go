// Package servertest starts servers for tests of packages that use package broadcast.
package servertest

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// patience is how long a shutdown may take.
const patience = 30 * time.Second

// Loopback is an address for Start: a free port of 127.0.0.1.
const Loopback = "127.0.0.1:0"

// Start starts a server that listens on an address, and shuts it down at the end of the test, unless the test has. The
// server does not log unless cfg has a Logger.
func Start(t testing.TB, listen string, cfg broadcast.Config) (*broadcast.Server, netip.AddrPort) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	srv, err := broadcast.New(cfg)
	if err != nil {
		t.Fatalf("broadcast.New: %v", err)
	}
	ln, err := broadcast.Listen(listen)
	if err != nil {
		t.Fatalf("broadcast.Listen: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // Stopped by Shutdown, and awaited at the end of the test.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil && !errors.Is(err, broadcast.ErrServerClosed) {
			t.Errorf("Shutdown: got %v, want nil", err)
		}
		if err := <-served; !errors.Is(err, broadcast.ErrServerClosed) {
			t.Errorf("Serve: got %v, want %v", err, broadcast.ErrServerClosed)
		}
	})
	return srv, netip.MustParseAddrPort(ln.Addr().String())
}
