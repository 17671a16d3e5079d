package broadcast

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// newIdle makes a server without a listener. The test must shut it down.
func newIdle(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// TestRunDrains: Run returns when the last peer has answered the close, and not before.
func TestRunDrains(t *testing.T) {
	srv := newIdle(t, Config{CloseTimeout: time.Minute})
	lns := []net.Listener{listen(t), listen(t)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, lns...) }()
	var clients []*client
	for _, ln := range lns {
		clients = append(clients, dial(t, ln.Addr().String()))
	}
	cancel()
	for _, c := range clients {
		c.expectClose(ws.StatusGoingAway)
	}
	select {
	case err := <-done:
		t.Fatalf("Run returned %v before the peers had answered", err)
	default:
	}
	for _, c := range clients {
		c.sendFrame(true, ws.OpClose, nil)
		c.expectEOF()
		c.Close()
	}
	if err := <-done; err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	if open := srv.Stats().Open; open != 0 {
		t.Errorf("after Run: %d open", open)
	}
	select {
	case <-srv.stopped:
	default:
		t.Error("Run returned before the server had stopped")
	}
}

// TestRunEnds: other ways in which Run ends, and their errors.
func TestRunEnds(t *testing.T) {
	t.Run("Shutdown by another goroutine", func(t *testing.T) {
		srv := newIdle(t, Config{})
		done := make(chan error, 1)
		go func() { done <- srv.Run(context.Background()) }()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		// It may have come too late to begin.
		if err := <-done; err != nil && !errors.Is(err, ErrServerClosed) {
			t.Errorf("got %v, want nil", err)
		}
		ln := listen(t)
		if err := srv.Run(context.Background(), ln); !errors.Is(err, ErrServerClosed) {
			t.Errorf("a second Run: got %v, want %v", err, ErrServerClosed)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("its listener: got %v, want %v", err, net.ErrClosed)
		}
	})
	t.Run("a listener that cannot be served", func(t *testing.T) {
		srv := newIdle(t, Config{})
		bad := struct{ net.Listener }{listen(t)} // Without a file descriptor.
		if err := srv.Run(context.Background(), listen(t), bad); err == nil || errors.Is(err, ErrServerClosed) {
			t.Errorf("got %v, want what is wrong with it", err)
		}
	})
}

// TestServeOutlastsShutdown: when Serve returns, no connection is being closed any longer.
func TestServeOutlastsShutdown(t *testing.T) {
	srv := newIdle(t, Config{CloseTimeout: time.Minute})
	ln := listen(t)
	served, down := make(chan error, 1), make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	c := dial(t, ln.Addr().String())
	go func() { down <- srv.Shutdown(context.Background()) }()
	c.expectClose(ws.StatusGoingAway)
	select {
	case <-served:
		t.Fatal("Serve returned before the peer had answered the close")
	default:
	}
	c.Close()
	if err := <-down; err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: got %v, want %v", err, ErrServerClosed)
	}
}

// TestServeNil: a nil listener, as after an error of Listen that the program ignored, is an error.
func TestServeNil(t *testing.T) {
	srv, _ := newServer(t, Config{})
	if err := srv.Serve(nil); err == nil || errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: got %v, want an error about the listener", err)
	}
	if err := srv.Run(t.Context(), nil); err == nil || errors.Is(err, ErrServerClosed) {
		t.Errorf("Run: got %v, want an error about the listener", err)
	}
	if err := srv.Run(t.Context(), nil); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Run after the end: got %v, want %v", err, ErrServerClosed)
	}
}
