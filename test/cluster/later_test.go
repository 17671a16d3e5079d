package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestLater checks that a crier that starts before NATS waits for it, says so, is not ready and lets nobody in, and
// works when NATS comes.
func TestLater(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"ordered", "fast"} {
		servers := startNATS(t, 1)
		nats := servers.servers[0]
		nats.signal(syscall.SIGKILL)
		n := &node{addr: freeAddr(t), admin: freeAddr(t)}
		url := strings.Replace(servers.urls()[0], "nats://", "nats://u:s3cret@", 1)
		n.process = &process{t: t, name: "crier " + n.addr, args: []string{
			crierBin, "--listen", n.addr, "--admin", n.admin, "--channels", "--drain", "200ms",
			"--cluster-timeout", "2s", "--cluster-mode", mode, "--cluster", url,
		}}
		n.start()
		t.Cleanup(func() { n.signal(syscall.SIGKILL) })
		awaitLine(t, n.process, `level=WARN msg="waiting for NATS" err="`+servers.addrs[0]+`: connection refused"`)
		eventually(t, "clients to be refused", func() error { return refusedWith503(t, n) })
		if err := n.ready(); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s: got %v from /readyz, want the reason", mode, err)
		}
		resp, err := http.Get("http://" + n.admin + "/livez")
		if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: /livez: got %v, %v, want 200", mode, resp, err)
		}
		if _, err := n.publish("news", "", "too early"); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s: publishing: got %v, want 503", mode, err)
		}
		nats.start()
		eventually(t, "the node to be ready", n.ready)
		checkWorks(t, n)
		if log := n.log(); strings.Contains(log, "s3cret") || strings.Count(log, "msg=serving") != 1 {
			t.Errorf("%s: the log has a password, or the node ended: %s", mode, log)
		}
		n.signal(syscall.SIGTERM)
	}
}

// refusedWith503 returns nil if a client gets 503 and is told when to come again.
func refusedWith503(t *testing.T, n *node) error {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.addr+"/news", nil)
	if err != nil {
		return err
	}
	for key, value := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		r.Header.Set(key, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		return fmt.Errorf("got %s and %v", resp.Status, resp.Header)
	}
	return nil
}

// TestLaterMajority checks that a crier whose NATS has no majority yet waits for longer than an answer may take.
func TestLaterMajority(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 3)
	for _, s := range servers.servers[1:] {
		s.signal(syscall.SIGKILL)
	}
	n := &process{t: t, name: "crier", args: []string{
		crierBin, "--listen", "127.0.0.1:0", "--cluster", servers.urls()[0], "--cluster-timeout", "200ms", "--cluster-replicas", "3",
	}}
	n.start()
	t.Cleanup(func() { n.signal(syscall.SIGKILL) })
	awaitLine(t, n, `msg="waiting for NATS"`)
	for _, s := range servers.servers[1:] {
		s.start()
	}
	awaitLine(t, n, "msg=serving")
	n.signal(syscall.SIGTERM)
}
