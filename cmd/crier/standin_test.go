package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/crier-ws/crier/internal/httpjson"
	"github.com/gobwas/ws"
)

// TestWithoutNATS checks that crier waits for NATS, logs the reason at once, and ends at once at a signal. The NATS
// server refuses connections, or accepts them and sends nothing.
func TestWithoutNATS(t *testing.T) {
	t.Parallel()
	bin := build(t)
	silent := listening(t, "tcp", "127.0.0.1:0").Addr().String()
	gone := freeAddr(t)
	for _, tt := range []struct{ name, url, why string }{
		{"refused", "nats://u:s3cret@" + gone, `err="` + gone + ": connection refused"},
		{"silent", "nats://u:s3cret@" + silent, `err="no answer yet from ` + silent},
		{"no such name", "nats://u:s3cret@nats.invalid", "nats.invalid"},
	} {
		for _, mode := range []string{"ordered", "fast"} {
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
				log := newStuckPipe(t)
				cmd := startWith(t, bin, log.w, "--listen=127.0.0.1:0", "--cluster="+tt.url, "--cluster-mode="+mode,
					"--cluster-timeout=1h")
				line := log.await(t, `level=WARN msg="waiting for NATS"`)
				if !strings.Contains(line, tt.why) || strings.Contains(line, "s3cret") {
					t.Errorf("%s, %s: got %q, want %q", tt.name, mode, line, tt.why)
				}
				_ = cmd.Process.Signal(sig)
				log.await(t, "stopped while waiting for NATS")
				checkExit(t, cmd, 0)
			}
		}
	}
}

// TestStandIn checks the answers to clients and back ends while crier waits for NATS.
func TestStandIn(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	addr, admin := freeAddr(t), freeAddr(t)
	log := newStuckPipe(t)
	notify := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", notify.LocalAddr().String())
	cmd := startWith(t, build(t), log.w, "--listen="+addr, "--admin="+admin, "--cluster=nats://"+freeAddr(t))
	awaitServing(t, "the admin", admin)
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 503, "/metrics": 200, "/v1/channels": 503, "/v1/publish": 503, "/": 503,
	} {
		resp, err := http.Get("http://" + admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body) // A truncated body is not valid JSON.
		resp.Body.Close()
		var problem httpjson.Problem
		if want == 503 && (json.Unmarshal(body, &problem) != nil || problem.Code != httpjson.NotReady ||
			problem.Error == "") {
			t.Errorf("%s: got %q, want an error in JSON with the code %s", path, body, httpjson.NotReady)
		}
		if resp.StatusCode != want || want == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got %s, %v, want %d", path, resp.Status, resp.Header, want)
		}
	}
	_, _, _, err := ws.Dial(t.Context(), "ws://"+addr)
	if status := ws.StatusError(0); !errors.As(err, &status) || status != http.StatusServiceUnavailable {
		t.Errorf("a client: got %v, want 503", err)
	}
	got := receiveState(t, notify)
	if !strings.HasPrefix(got, "STATUS=waiting for NATS: ") || !strings.Contains(got, "\nEXTEND_TIMEOUT_USEC=30000000") {
		t.Errorf("the service manager: got %q, want the reason and more time", got)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	checkExit(t, cmd, 0)
}
