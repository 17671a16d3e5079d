package cluster

import (
	"strings"
	"syscall"
	"testing"
)

// TestNoMajority: a node that reaches a server of NATS, but not the stream, says so until it does.
func TestNoMajority(t *testing.T) {
	nats := startNATS(t, 3)
	n := startNode(t, nats.urls()[:1], "--cluster-timeout", "500ms")
	for _, s := range nats.servers[1:] {
		s.signal(syscall.SIGSTOP)
	}
	eventually(t, "it not to be ready", func() error {
		if err := n.ready(); err == nil || !strings.Contains(err.Error(), "majority") {
			return errNotYet
		}
		return nil
	})
	for _, s := range nats.servers[1:] {
		s.signal(syscall.SIGCONT)
	}
	eventually(t, "it to be ready", n.ready)
}
