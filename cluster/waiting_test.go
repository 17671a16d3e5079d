package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/logtest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestPasses checks which errors a start waits out.
func TestPasses(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"refused", refused, true},
		{"refused, as nats.go has it", nats.ErrNoServers, true},
		{"no such name", &net.DNSError{IsNotFound: true}, true},
		{"no route", &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, true},
		{"no answer", nats.ErrTimeout, true},
		{"hung up", io.EOF, true},
		{"hung up hard", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{"full", nats.ErrMaxConnectionsExceeded, true},
		{"unknown user", nats.ErrAuthorization, false},
		{"TLS alert", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		{"unknown authority", x509.UnknownAuthorityError{}, false},
		{"no TLS", nats.ErrSecureConnRequired, false},
		{"another protocol", errors.New("nats: expected 'INFO', got 'SSH-2.0'"), false},
		{"no file", &fs.PathError{Op: "open", Err: syscall.ENOENT}, false},
		{"one of two cannot come", errors.Join(fmt.Errorf("a: %w", refused), fmt.Errorf("b: %w", nats.ErrAuthorization)), false},
		{"both may come", errors.Join(fmt.Errorf("a: %w", refused), fmt.Errorf("b: %w", io.EOF)), true},
	} {
		if got := passes(tt.err); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestMayCome checks which errors of a stream a start waits out, and for how long.
func TestMayCome(t *testing.T) {
	young, old := &Cluster{began: time.Now()}, &Cluster{began: time.Now().Add(-2 * peersFor)}
	for _, tt := range []struct {
		code       jetstream.ErrorCode
		young, old bool
	}{
		{10008, true, true},   // No leader.
		{10005, true, false},  // Too few servers.
		{10074, false, false}, // Replicas, and a server that has no others.
		{10047, false, false}, // Too little room.
	} {
		err := error(&jetstream.APIError{ErrorCode: tt.code})
		if y, o := young.mayCome(err), old.mayCome(err); y != tt.young || o != tt.old {
			t.Errorf("%d: got %v and later %v, want %v and %v", tt.code, y, o, tt.young, tt.old)
		}
	}
	if !old.mayCome(context.DeadlineExceeded) || old.mayCome(nats.ErrNoResponders) {
		t.Error("no answer may come, and no JetStream may not")
	}
}

// TestReachable checks that the wait for NATS is told at once, and ends with the first success or the context.
func TestReachable(t *testing.T) {
	var log logtest.Buffer
	var told error
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Waiting: func(err error) { told = err }}
	tries := 0
	err := cfg.reachable(t.Context(), nil, func() error {
		if tries++; tries < 3 {
			return errors.Join(io.EOF, nats.ErrNoServers)
		}
		return nil
	})
	if err != nil || tries != 3 || told == nil || strings.Count(log.String(), "waiting for NATS") != 1 || !log.Has(`err="EOF; nats: no servers`) {
		t.Errorf("got %v after %d tries, told %v, and the log %s", err, tries, told, log.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = cfg.reachable(ctx, nil, func() error { cancel(); return io.EOF })
	if !errors.Is(err, context.Canceled) || !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the context's error and why", err)
	}
	if err := cfg.reachable(t.Context(), nil, func() error { return nats.ErrAuthorization }); err != nats.ErrAuthorization {
		t.Errorf("got %v, want it at once", err)
	}
}
