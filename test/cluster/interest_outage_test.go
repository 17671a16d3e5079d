package cluster

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// history returns the messages of a channel that a node retains: the frames that arrive within a second.
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

// TestInterestTries checks that a channel keeps its history if it is first wanted during an outage of NATS.
func TestInterestTries(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 1)
	args := []string{"--cluster-replicas", "1", "--cluster-timeout", "500ms"}
	one, control := startNode(t, nats.urls(), args...), startNode(t, nats.urls(), args...)
	for i := range 5 {
		if _, err := one.publish("old", "", fmt.Sprint("m", i)); err != nil {
			t.Fatal(err)
		}
	}
	nats.servers[0].signal(syscall.SIGKILL)
	eventually(t, "the node to be unready", func() error {
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
	eventually(t, "the node to be ready", one.ready)
	eventually(t, "the other node to be ready", control.ready)
	if got := history(t, control, "old"); len(got) != 6 {
		t.Errorf("control: got %q, want 6 frames", got)
	}
	if got := history(t, one, "old"); len(got) != 6 {
		t.Errorf("the node whose channel was wanted during the outage: got %q, want 6 frames", got)
	}
}

// TestInterestFastQuiet is TestFastInterest with a channel that had no messages before.
func TestInterestFastQuiet(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, noJetStream)
	one, two := startFast(t, servers.urls(), "--cluster-linger", "200ms"), startFast(t, servers.urls())
	const received = "crier_cluster_received_total"
	l := listen(t, "news", one)
	awaitConnected(t, l)
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
		t.Fatal("the node has not left the channel")
	}
	back := listen(t, "news?since="+l.last, one)
	defer back.end()
	awaitConnected(t, back)
	if _, err := two.publish("news", "", "the end"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "the end", back)
	if got, gaps := back.received(); len(gaps) != 1 {
		t.Errorf("resumed after %s: got %q and gaps %q, want one gap", l.last, got, gaps)
	}
}

// TestInterestNoAnswer checks that a node asks again if NATS does not answer a request about a consumer.
func TestInterestNoAnswer(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	c := newCutter(t, servers.addrs[0])
	n := startPlain(t, []string{"nats://" + c.ln.Addr().String()})
	ear := direct(t, servers) // It takes every other request, and does not answer.
	asked, err := ear.SubscribeSync("$JS.API.CONSUMER.XNFO.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := ear.Flush(); err != nil {
		t.Fatal(err)
	}
	questions := 0
	c.change(func(b []byte) {
		if i := bytes.Index(b, []byte("$JS.API.CONSUMER.INFO")); i >= 0 {
			if questions++; questions%2 == 1 {
				b[i+len("$JS.API.CONSUMER.")] = 'X'
			}
		}
	})
	l := listen(t, "news", n)
	awaitConnected(t, l)
	eventually(t, "a message to be published", func() error {
		_, err := n.publish("news", "", "the only one")
		return err
	})
	awaitSame(t, "the only one", l)
	l.end()
	if lost, _, _ := asked.Pending(); lost < 2 {
		t.Errorf("only %d requests were lost: too few for the test", lost)
	}
}
