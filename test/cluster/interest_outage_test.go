package cluster

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// history is what a node has of a channel: the first frames that come within a second.
func history(t *testing.T, n *node, channel string) (frames []string) {
	t.Helper()
	eventually(t, "history of "+channel, func() error {
		conn, br, _, err := ws.Dialer{Protocols: []string{"crier.v1"}, Timeout: 5 * time.Second}.Dial(t.Context(), "ws://"+n.addr+"/"+channel+"?last=10")
		if err != nil {
			return err
		}
		defer conn.Close()
		rw := reader(br, conn)
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			p, err := wsutil.ReadServerText(rw)
			if err != nil {
				return nil
			}
			frames = append(frames, string(p))
		}
	})
	return frames
}

// TestInterestTries: an outage of NATS costs a channel that was wanted meanwhile its history.
func TestInterestTries(t *testing.T) {
	nats := startNATS(t, 1)
	args := []string{"--cluster-replicas", "1", "--cluster-timeout", "500ms"}
	one, control := startNode(t, nats.urls(), args...), startNode(t, nats.urls(), args...)
	for i := range 5 {
		if _, err := one.publish("old", "", fmt.Sprint("m", i)); err != nil {
			t.Fatal(err)
		}
	}
	nats.servers[0].signal(syscall.SIGKILL)
	eventually(t, "it not to be ready", func() error {
		if one.ready() == nil {
			return errNotYet
		}
		return nil
	})
	for range 3 { // Each is answered 503 after 2 s.
		if conn, _, _, err := ws.Dial(t.Context(), "ws://"+one.addr+"/old"); err == nil {
			conn.Close()
		}
	}
	nats.servers[0].start()
	eventually(t, "it to be ready", one.ready)
	eventually(t, "the other one to be ready", control.ready)
	if got := history(t, control, "old"); len(got) != 6 {
		t.Errorf("control: got %q", got)
	}
	if got := history(t, one, "old"); len(got) != 6 {
		t.Errorf("who was asked for the channel during the outage: got %q", got)
	}
}

// TestInterestFastQuiet is TestFastInterest with a channel in which nothing was said before.
func TestInterestFastQuiet(t *testing.T) {
	servers := startNATS(t, 1, noJetStream)
	one, two := startFast(t, servers.urls(), "--cluster-linger", "200ms"), startFast(t, servers.urls())
	const received = "crier_cluster_received_total"
	l := listen(t, "news", one)
	present(t, l)
	l.end()
	time.Sleep(2 * time.Second) // 10 times linger.
	before := one.metric(t, received)
	for i := range 3 {
		if _, err := two.publish("news", "", fmt.Sprint("missed ", i)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	if one.metric(t, received) != before {
		t.Fatal("not left yet")
	}
	back := listen(t, "news?since="+l.last, one)
	defer back.end()
	present(t, back)
	if _, err := two.publish("news", "", "the end"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "the end", back)
	if got, gaps := back.have(); len(gaps) != 1 {
		t.Errorf("came back behind %s: got %q and the gaps %q, want one", l.last, got, gaps)
	}
}
