package cluster

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// peak is the most memory that a process has had so far, in KiB.
func peak(t *testing.T, p *process) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestInterestMemory: clients that come to channel after channel do not make a node take up memory for each.
func TestInterestMemory(t *testing.T) {
	servers := startNATS(t, 1)
	n := startNode(t, servers.urls(), "--cluster-replicas", "1")
	before := peak(t, n.process)
	for i := range 100 {
		conn, _, _, err := ws.Dial(t.Context(), fmt.Sprintf("ws://%s/c%d", n.addr, i))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if grew := peak(t, n.process) - before; grew > 16<<10 {
		t.Errorf("it grew by %d KiB", grew)
	}
}
