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

// TestTransient checks which errors a start waits out.
func TestTransient(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"refused", refused, true},
		{"refused, as nats.go reports it", nats.ErrNoServers, true},
		{"no such name", &net.DNSError{IsNotFound: true}, true},
		{"no route", &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, true},
		{"no answer", nats.ErrTimeout, true},
		{"closed by the peer", io.EOF, true},
		{"reset by the peer", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{"full", nats.ErrMaxConnectionsExceeded, true},
		{"unknown user", nats.ErrAuthorization, false},
		{"TLS alert", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		{"unknown authority", x509.UnknownAuthorityError{}, false},
		{"no TLS", nats.ErrSecureConnRequired, false},
		{"another protocol", errors.New("nats: expected 'INFO', got 'SSH-2.0'"), false},
		{"missing file", &fs.PathError{Op: "open", Err: syscall.ENOENT}, false},
		{"one of two is permanent",
			errors.Join(fmt.Errorf("a: %w", refused), fmt.Errorf("b: %w", nats.ErrAuthorization)), false},
		{"both are transient", errors.Join(fmt.Errorf("a: %w", refused), fmt.Errorf("b: %w", io.EOF)), true},
	} {
		if got := transient(tt.err); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestMayAppear checks which errors about the stream a start waits out, and for how long.
func TestMayAppear(t *testing.T) {
	young, old := &Ordered{opened: time.Now()}, &Ordered{opened: time.Now().Add(-2 * peersWait)}
	for _, tt := range []struct {
		code       jetstream.ErrorCode
		young, old bool
	}{
		{10008, true, true},   // No leader.
		{10005, true, false},  // Too few servers.
		{10074, false, false}, // Replicas on a single server.
		{10047, false, false}, // Too little room.
	} {
		err := error(&jetstream.APIError{ErrorCode: tt.code})
		if y, o := young.mayAppear(err), old.mayAppear(err); y != tt.young || o != tt.old {
			t.Errorf("%d: got %v at first and %v later, want %v and %v", tt.code, y, o, tt.young, tt.old)
		}
	}
	if !old.mayAppear(context.DeadlineExceeded) || old.mayAppear(nats.ErrNoResponders) {
		t.Error("want true without an answer, and false without JetStream")
	}
}

// TestRetryTransient checks that the wait for NATS is reported at once, and ends with a success or with the context.
func TestRetryTransient(t *testing.T) {
	var log logtest.Buffer
	var reported error
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Waiting: func(err error) { reported = err }}
	tries := 0
	err := cfg.retryTransient(t.Context(), nil, func() error {
		if tries++; tries < 3 {
			return errors.Join(io.EOF, nats.ErrNoServers)
		}
		return nil
	})
	lines := strings.Count(log.String(), "waiting for NATS")
	if err != nil || tries != 3 || reported == nil || lines != 1 || !log.Has(`err="EOF; nats: no servers`) {
		t.Errorf("got %v after %d tries, reported %v, and the log %s", err, tries, reported, log.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = cfg.retryTransient(ctx, nil, func() error { cancel(); return io.EOF })
	if !errors.Is(err, context.Canceled) || !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the error of the context and the reason", err)
	}
	err = cfg.retryTransient(t.Context(), nil, func() error { return nats.ErrAuthorization })
	if err != nats.ErrAuthorization {
		t.Errorf("got %v, want %v at once", err, nats.ErrAuthorization)
	}
}
