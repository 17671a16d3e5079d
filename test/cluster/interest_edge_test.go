package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/nats-io/nats.go"
)

// direct returns a connection to NATS, to publish fast.
func direct(t *testing.T, c *natsCluster) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(strings.Join(c.urls(), ","))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// steadily publishes until the test ends.
func steadily(t *testing.T, nc *nats.Conn, subject string, size int, every time.Duration) {
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(every):
				_ = nc.Publish(subject, []byte(strings.Repeat("x", size)))
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
}

func at(l *listener, patience time.Duration) (string, bool) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		last := l.last
		l.mu.Unlock()
		if last != "" {
			return last, true
		}
	}
	return "", false
}

// TestInterestFullStream checks that the history of a channel can be read from a full stream that is smaller than the
// wanted history, and drops a message for each new one.
func TestInterestFullStream(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 3)
	n := startNode(t, servers.urls(), "--cluster-max-bytes", "5MiB")
	nc := direct(t, servers)
	for range 50_000 {
		_ = nc.Publish("CRIER.busy", []byte(strings.Repeat("x", 100)))
	}
	_ = nc.Flush()
	n.signal(syscall.SIGKILL) // The outage that the fault caused is not what this tests.
	n.restart()
	for range 5 {
		steadily(t, nc, "CRIER.busy", 100, time.Millisecond)
	}
	l := listen(t, "fresh", n)
	defer l.end()
	began := time.Now()
	_, ok := at(l, 30*time.Second)
	t.Log(time.Since(began), strings.Count(n.log(), "dropped history"), "tries")
	if !ok {
		t.Errorf("no client could connect for 30 s:\n%s", tail(n.log()))
	}
}

// TestInterestStopped stops a node for a second, while the stream drops the node's next message.
func TestInterestStopped(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-max-bytes", "2MiB")
	nc := direct(t, servers)
	l := listen(t, "x", n)
	defer l.end()
	awaitConnected(t, l)
	publish := func(i int) { _ = nc.Publish("CRIER.x", []byte(fmt.Sprint(i, " ", strings.Repeat("x", 100_000)))) }
	for i := range 3 {
		publish(i)
	}
	_ = nc.Flush()
	eventually(t, "three messages", func() error {
		if got, _ := l.received(); len(got) < 3 {
			return errNotYet
		}
		return nil
	})
	restartIfEnded := func() {
		select {
		case <-n.ended:
			t.Log("it ended:", tail(n.log()))
			n.restart()
		default:
		}
	}
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	began := time.Now()
	for i := 3; i < 300; i++ {
		publish(i)
	}
	_ = nc.Flush()
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	t.Log("it stood for", time.Since(began))
	for i := 300; i < 330; i++ {
		publish(i)
		time.Sleep(100 * time.Millisecond)
		restartIfEnded()
	}
	eventually(t, "the end", func() error {
		restartIfEnded() // On a busy machine it only now finds out that the stream dropped its next message.
		if got, _ := l.received(); !strings.Contains(got[len(got)-1], " 329 ") {
			return errNotYet
		}
		return nil
	})
	got, gaps := l.received()
	before, holes := -1, 0
	for _, g := range got {
		i, _ := strconv.Atoi(strings.Fields(g)[1])
		if i != before+1 {
			holes++
			t.Logf("a hole from %d to %d, at %s", before, i, strings.Fields(g)[0])
			if len(gaps) == 0 {
				t.Errorf("want a gap there")
			}
		}
		before = i
	}
	if holes == 0 {
		t.Error("got no dropped messages: the test needs some")
	}
}

// TestInterestQuiet checks that a client which was away from a quiet channel, while other channels had more than 8
// MiB of messages, receives what it missed.
func TestInterestQuiet(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	one := startNode(t, servers.urls(), "--cluster-replicas", "1")
	two := startNode(t, servers.urls(), "--cluster-replicas", "1")
	nc := direct(t, servers)
	l := listen(t, "calm", one)
	awaitConnected(t, l)
	if _, err := one.publish("calm", "", "first"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "first", l)
	l.end()
	if _, err := one.publish("calm", "", "missed"); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		_ = nc.Publish("CRIER.busy", []byte(strings.Repeat("x", 100_000)))
	}
	_ = nc.Flush()
	got, _ := l.received()
	id := strings.Fields(got[len(got)-1])[0]
	back := listen(t, "calm?since="+id, two)
	defer back.end()
	eventually(t, "the first message", func() error {
		if got, gaps := back.received(); len(got)+len(gaps) == 0 {
			return errNotYet
		}
		return nil
	})
	time.Sleep(time.Second)
	if got, gaps := back.received(); len(got) != 1 || len(gaps) != 0 {
		t.Errorf("got %q, gaps %q", got, gaps)
	}
}

// TestInterestRetainAge checks that messages older than --retain-age are not delivered, whenever a client connects.
func TestInterestRetainAge(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--retain-age", "1s", "--cluster-linger", "1s")
	l := listen(t, "calm", n)
	awaitConnected(t, l)
	if _, err := n.publish("calm", "", "old"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "old", l)
	l.end()
	time.Sleep(5 * time.Second)
	back := listen(t, "calm?last=10", n)
	defer back.end()
	if _, ok := at(back, 10*time.Second); !ok {
		t.Error("the client could not connect")
	}
	time.Sleep(time.Second)
	if got, _ := back.received(); len(got) != 0 {
		t.Errorf("got %q, which is older than --retain-age", got)
	}
}

// TestInterestAhead checks that a client which has received only an at: line from one node can join the channel at
// another node that reads it.
func TestInterestAhead(t *testing.T) {
	servers := startNATS(t, 1)
	one := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-timeout", "5s")
	two := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-timeout", "5s")
	nc := direct(t, servers)
	there := listen(t, "calm", two)
	defer there.end()
	awaitConnected(t, there)
	for range 200 {
		_ = nc.Publish("CRIER.busy", []byte(strings.Repeat("x", 100_000)))
	}
	_ = nc.Flush()
	l := listen(t, "calm", one)
	awaitConnected(t, l)
	l.end()
	began := time.Now()
	conn, _, _, err := ws.Dialer{Protocols: []string{"crier.v1"}, Timeout: 10 * time.Second}.Dial(t.Context(), "ws://"+two.addr+"/calm?since="+l.last)
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	conn.Close()
	t.Log(time.Since(began))
}

// TestInterestPayload checks that many channels with long names do not keep a node from reading others, if NATS
// accepts only messages of 64 KiB.
func TestInterestPayload(t *testing.T) {
	servers := startNATS(t, 1, "max_payload: 65536")
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-linger", "1s")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	var conns []net.Conn
	for i := range 150 {
		conn, _, _, err := ws.Dial(t.Context(), fmt.Sprintf("ws://%s/%d%s", n.addr, i, strings.Repeat("!", 240)))
		if err != nil {
			t.Log(i, err)
			break
		}
		conns = append(conns, conn)
	}
	for k := range 3 {
		if _, err := n.publish("news", "", fmt.Sprint("word ", k)); err != nil {
			t.Fatal(err)
		}
	}
	awaitSame(t, "word 2", l)
	for _, conn := range conns {
		conn.Close()
	}
}
