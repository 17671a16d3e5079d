package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRolledBack checks that nodes end when the stream has lost messages that they delivered and gives their sequence
// numbers to others, and that clients which have more than the stream are told of a gap.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	store := filepath.Join(filepath.Dir(servers.servers[0].args[2]), "jetstream")
	backup := filepath.Join(t.TempDir(), "jetstream")
	var nodes []*node
	var listeners []*listener
	for range 2 {
		n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-timeout", "500ms")
		l := listen(t, "news", n)
		defer l.end()
		nodes, listeners = append(nodes, n), append(listeners, l)
	}
	awaitConnected(t, listeners...)
	publish := func(text string) {
		t.Helper()
		eventually(t, text+" to be published", func() error {
			_, err := nodes[0].publish("news", text, text)
			return err
		})
	}
	restart := func(meanwhile func() error) {
		t.Helper()
		servers.servers[0].signal(syscall.SIGTERM)
		if err := meanwhile(); err != nil {
			t.Fatal(err)
		}
		servers.servers[0].start()
		awaitListening(t, servers.addrs[0])
	}
	publish("kept")
	awaitSame(t, "kept", listeners...)
	restart(func() error { return os.CopyFS(backup, os.DirFS(store)) })
	for i := range 20 {
		publish(fmt.Sprint("lost ", i))
	}
	awaitSame(t, "lost 19", listeners...)
	restart(func() error {
		if err := os.RemoveAll(store); err != nil {
			return err
		}
		return os.CopyFS(store, os.DirFS(backup))
	})
	for _, n := range nodes {
		ends(t, n, "the stream was rolled back")
	}
	publish("after")
	for i := range nodes {
		awaitGap(t, listeners[i], "after", 1)
		got, _ := listeners[i].received()
		if len(got) != 1+20+2 || !strings.HasSuffix(got[21], " kept") {
			t.Errorf("got %q, want all messages once, and after the gap those of the stream", got)
		}
	}
}
