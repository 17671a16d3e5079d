package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestLost checks that a node which was lapped by the stream, or whose stream was replaced, ends, and that its
// clients are told of a gap after its restart.
func TestLost(t *testing.T) {
	servers := startNATS(t, 1)
	c := newCutter(t, servers.addrs[0])
	near := startNode(t, servers.urls(), "--cluster-replicas", "1")
	far := startNode(t, []string{"nats://" + c.ln.Addr().String()}, "--cluster-replicas", "1", "--cluster-timeout", "500ms")
	one, two := listen(t, "news", near), listen(t, "news", far)
	defer one.end()
	defer two.end()
	awaitConnected(t, one, two)
	if _, err := near.publish("news", "", "before"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "before", one, two)
	js := servers.jetStream(t)
	stream, err := js.Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	c.set(true)
	c.cut()
	eventually(t, "the far one not to be ready", func() error {
		if far.ready() == nil {
			return errNotYet
		}
		return nil
	})
	for i := range 5 {
		if _, err := near.publish("news", "", fmt.Sprint("missed ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeKeep(1)); err != nil {
		t.Fatal(err)
	}
	c.set(false)
	c.cut()
	ends(t, far, "and the stream begins with")
	if _, err := near.publish("news", "", "after"); err != nil {
		t.Fatal(err)
	}
	awaitGap(t, two, "after", 1)
	awaitGap(t, one, "after", 0)
	if got, _ := one.received(); len(got) != 7 {
		t.Errorf("the listener of the near node: got %q", got)
	}
	if err := js.DeleteStream(t.Context(), "CRIER"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CRIER", Subjects: []string{"CRIER.*"}}); err != nil {
		t.Fatal(err)
	}
	ends(t, near, "deleted and created again")
	ends(t, far, "deleted and created again")
	if _, err := near.publish("news", "", "anew"); err != nil {
		t.Fatal(err)
	}
	awaitGap(t, one, "anew", 1)
	awaitGap(t, two, "anew", 2)
}

// ends waits until a node has ended with an error, and starts it again.
func ends(t *testing.T, n *node, why string) {
	t.Helper()
	eventually(t, n.name+" to end", func() error {
		select {
		case <-n.ended:
			return nil
		default:
			return errNotYet
		}
	})
	if code := n.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(n.log(), why) {
		t.Errorf("%s: got exit code %d, want 1 and %q in the log", n.name, code, why)
	}
	n.restart()
}

// awaitGap waits until a listener has a text, and checks how many gaps it was told of.
func awaitGap(t *testing.T, l *listener, text string, gaps int) {
	t.Helper()
	eventually(t, "a listener to have "+text, func() error {
		if got, _ := l.received(); len(got) == 0 || !strings.HasSuffix(got[len(got)-1], " "+text) {
			return errNotYet
		}
		return nil
	})
	if got, lines := l.received(); len(lines) != gaps {
		t.Errorf("after %q: got gaps %q, want %d", got[len(got)-1], lines, gaps)
	}
}
