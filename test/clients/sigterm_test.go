package clients

import (
	"syscall"
	"testing"
	"time"
)

const (
	readyTimeout = 15 * time.Second
	leaveTimeout = 15 * time.Second
)

// TestSIGTERM sends SIGTERM to a server with Node and .NET clients connected: each sees
// 1001 (RFC 6455, section 7.4.1: going away) and the server exits with code 0.
func TestSIGTERM(t *testing.T) {
	t.Parallel()
	needNode(t)
	exe := needMono(t, monoClient)
	tgt := startTarget(t)
	if !tgt.endsOnSignal {
		t.Skip("Node's broadcaster does not close its clients on SIGTERM")
	}
	clients := map[string]*process{
		"node": startProcess(t, nodeDir, "node", "await_close.js", tgt.url, "1001"),
		"mono": startProcess(t, "", "mono", exe, "await", tgt.url, "1001"),
	}
	for _, client := range clients {
		client.waitLine(t, "ready", readyTimeout)
	}
	tgt.signal(t, syscall.SIGTERM)
	for name, client := range clients {
		if err := client.wait(leaveTimeout); err != nil {
			t.Errorf("%s client after SIGTERM to the server: %v", name, err)
		}
	}
	if err := tgt.wait(leaveTimeout); err != nil {
		t.Errorf("server after SIGTERM: %v, want exit code 0", err)
	}
}
