package cluster

import (
	"fmt"
	"testing"
)

// TestOnce checks that a request that is repeated with its Idempotency-Key at another node publishes nothing, and
// gets the same answer.
func TestOnce(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 3)
	var nodes []*node
	var listeners []*listener
	for range 2 {
		n := startNode(t, servers.urls())
		nodes = append(nodes, n)
		listeners = append(listeners, listen(t, "news", n))
	}
	awaitConnected(t, listeners...)
	publish := func(n *node, channel, key, text string) string {
		t.Helper()
		id, err := n.publish(channel, key, text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for i := range 10 {
		key, text := fmt.Sprint("key ", i), fmt.Sprint("text ", i)
		first := publish(nodes[0], "news", key, text)
		for _, n := range []*node{nodes[1], nodes[0], nodes[1]} {
			if again := publish(n, "news", key, text); again != first {
				t.Errorf("%s: got %s, want %s", key, again, first)
			}
		}
	}
	publish(nodes[1], "sport", "key 0", "text 0") // The key of another channel.
	if _, err := nodes[0].publish("news", "key 0", "another text"); err == nil {
		t.Error("a key was accepted again for another text")
	}
	publish(nodes[0], "news", "", "the end")
	for _, l := range listeners {
		defer l.end()
	}
	if got := awaitSame(t, "the end", listeners...); len(got) != 11 {
		t.Errorf("got %d messages, want 11: %q", len(got), got)
	}
}
