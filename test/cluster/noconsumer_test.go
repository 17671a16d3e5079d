package cluster

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoConsumer checks that a node which may publish, but may no longer create a consumer, is not ready until it
// may.
func TestNoConsumer(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, `accounts { A { jetstream: enabled, users: [
		{ user: crier, password: x, permissions { publish: { deny: [ "nothing" ] } } }, { user: admin, password: x } ] } }`, "no_auth_user: admin")
	n := startNode(t, []string{"nats://crier:x@" + servers.addrs[0]}, "--cluster-replicas", "1", "--cluster-timeout", "500ms")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	servers.reload(t, `"nothing"`, `"$JS.API.CONSUMER.CREATE.>"`)
	stream, err := servers.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if err := stream.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.publish("news", "", "meanwhile"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node to be unready", func() error {
		if err := n.ready(); err == nil || !strings.Contains(err.Error(), "does not receive what the stream holds") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	servers.reload(t, `"$JS.API.CONSUMER.CREATE.>"`, `"nothing"`)
	eventually(t, "the node to be ready", n.ready)
	if _, err := n.publish("news", "", "after"); err != nil {
		t.Fatal(err)
	}
	if got := awaitSame(t, "after", l); len(got) != 2 {
		t.Errorf("got %q, want two messages", got)
	}
}
