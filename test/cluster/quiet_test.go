package cluster

import (
	"testing"
	"time"
)

// TestQuietFullStream checks that a node which reads only a quiet channel is not lapped by a stream that drops as
// much as it holds in three seconds, all of it of other channels.
func TestQuietFullStream(t *testing.T) {
	servers := startNATS(t, 1)
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-max-bytes", "24MiB", "--cluster-timeout", "5s")
	l := listen(t, "quiet", n)
	defer l.end()
	awaitConnected(t, l)
	steadily(t, direct(t, servers), "CRIER.busy", 80_000, 10*time.Millisecond)
	stream, err := servers.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream to drop more than it holds", func() error {
		select {
		case <-n.ended:
			t.Fatal("the node ended:", tail(n.log()))
		default:
		}
		info, err := stream.Info(t.Context())
		if err == nil && info.State.FirstSeq < 500 {
			err = errNotYet
		}
		return err
	})
	if _, err := n.publish("quiet", "", "after"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "after", l)
}

// TestQuietNodes checks that nodes of quiet channels do not put markers into the stream because of each other's
// markers.
func TestQuietNodes(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	for _, channel := range []string{"one", "two"} {
		n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-timeout", "200ms")
		l := listen(t, channel, n)
		defer l.end()
		awaitConnected(t, l)
	}
	stream, err := servers.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	before := stream.CachedInfo().State.LastSeq
	if err := direct(t, servers).Publish("CRIER.other", nil); err != nil {
		t.Fatal(err)
	}
	var now uint64
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now = info.State.LastSeq
	}
	if n := now - before; n < 2 || n > 6 {
		t.Errorf("got %d more messages, want one and a few markers", n)
	}
}
