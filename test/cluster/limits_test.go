package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/nats-io/nats.go/jetstream"
)

// TestClosed lowers the largest message of NATS, which then closes the connection for good on a larger one. The node
// must end with that error, and work after a restart.
func TestClosed(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, "max_payload: 1048576")
	n := startNode(t, servers.urls(), "--cluster-replicas", "1")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	// NATS resets the connection after its error. If the reset overtakes the error, the node reconnects: try again,
	// with a lower limit, as the node then knows the last one.
	for limit := 1 << 20; ; limit /= 2 {
		reconnects := strings.Count(n.log(), "reconnected to NATS")
		servers.reload(t, fmt.Sprint("max_payload: ", limit), fmt.Sprint("max_payload: ", limit/2))
		_ = (&socket{n: n}).send("news", strings.Repeat("x", limit*2/3)) // It exceeds the new limit.
		ended := false
		eventually(t, "the node to end or to reconnect", func() error {
			select {
			case <-n.ended:
				ended = true
				return nil
			default:
			}
			if strings.Count(n.log(), "reconnected to NATS") > reconnects && limit > 64<<10 {
				return nil
			}
			return errNotYet
		})
		if ended {
			break
		}
	}
	ends(t, n, "NATS closed the connection for good")
	if _, err := n.publish("news", "", "after"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "after", l)
}

// TestSmaller restarts NATS with a lower limit while a larger message is on its way: that message is lost, and later
// ones are not.
func TestSmaller(t *testing.T) {
	servers := startNATS(t, 1, "max_payload: 1048576")
	c := newCutter(t, servers.addrs[0])
	n := startNode(t, []string{"nats://" + c.ln.Addr().String()}, "--cluster-replicas", "1")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	c.set(true)
	s := &socket{n: n}
	for _, text := range []string{"before", strings.Repeat("x", 700<<10), "behind"} {
		if err := s.send("news", text); err != nil {
			t.Fatal(err)
		}
	}
	servers.servers[0].signal(syscall.SIGTERM)
	servers.rewrite(t, "1048576", "524288")
	servers.servers[0].start()
	awaitListening(t, servers.addrs[0])
	c.set(false)
	c.cut()
	awaitSame(t, "behind", l)
	if got, _ := l.received(); len(got) != 2 {
		t.Errorf("got %d messages, want 2", len(got))
	}
	if lost := strings.Count(n.log(), "lost a message"); lost != 1 {
		t.Errorf("got %d lost messages in the log, want 1", lost)
	}
	if lost := n.metric(t, "crier_cluster_lost_total"); lost != 1 {
		t.Errorf("got %v lost messages in the metrics, want 1", lost)
	}
}

// TestSmallerBatches is TestSmaller with several batches of messages: all but the large ones arrive in their order,
// and none is left waiting.
func TestSmallerBatches(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3, "max_payload: 1048576")
	link := newCutter(t, nats.addrs[0])
	n, near := startNode(t, []string{"nats://" + link.ln.Addr().String()}), startNode(t, nats.urls()[1:])
	l := listen(t, "news", near)
	defer l.end()
	awaitConnected(t, l)
	s := &socket{n: n}
	if err := s.send("news", "the first one"); err != nil {
		t.Fatal(err)
	}
	l.all(1)
	link.set(true)
	for i := range 700 {
		text := fmt.Sprint("w ", i)
		if i%100 == 50 {
			text = strings.Repeat("x", 700<<10)
		}
		if err := s.send("news", text); err != nil {
			t.Fatal(err)
		}
	}
	await := func(waiting, lost float64) {
		t.Helper()
		eventually(t, "what waits and what is lost", func() error {
			w, l := n.metric(t, "crier_cluster_waiting_messages"), n.metric(t, "crier_cluster_lost_total")
			if w != waiting || l != lost {
				return fmt.Errorf("got %v waiting and %v lost", w, l)
			}
			return nil
		})
	}
	await(700, 0)
	for _, server := range nats.servers {
		server.signal(syscall.SIGTERM)
	}
	nats.rewrite(t, "1048576", "524288")
	for i, server := range nats.servers {
		server.start()
		awaitListening(t, nats.addrs[i])
	}
	link.set(false)
	link.cut()
	await(0, 7)
	if got := l.all(694); len(got) != 694 {
		t.Errorf("got %d messages, want 694", len(got))
	}
	inOrder(t, "who listens", texts(l))
}

// TestAccountFull checks that publishers wait while the NATS account is full, and that no message is missing when
// there is room again.
func TestAccountFull(t *testing.T) {
	servers := startNATS(t, 1, "accounts { A { jetstream { max_file: 3MB }, users: [ { user: a, password: a } ] } }", "no_auth_user: a")
	node := startNode(t, servers.urls(), "--cluster-replicas", "1")
	l := listen(t, "news", node)
	defer l.end()
	awaitConnected(t, l)
	s := &socket{n: node}
	for i := range 100 {
		if err := s.send("news", fmt.Sprint(i, " ", strings.Repeat("x", 50<<10))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the account to be full", func() error {
		if !strings.Contains(node.log(), "resource limits exceeded") {
			return errNotYet
		}
		return nil
	})
	stream, err := servers.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all of them", func() error {
		if lost := strings.Count(node.log(), "lost a message"); lost > 0 {
			t.Fatalf("got %d lost messages, want none", lost)
		}
		got, _ := l.received()
		if len(got) == 100 {
			return nil
		}
		if len(got) > 0 { // What the listener has, the node has.
			id, _, _ := strings.Cut(got[len(got)-1], " ")
			last, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.Purge(t.Context(), jetstream.WithPurgeSequence(last))
		}
		return errNotYet
	})
	got, gaps := l.received()
	for i, m := range got {
		if !strings.Contains(m, fmt.Sprint(" ", i, " x")) {
			t.Errorf("message %d is %.40s", i, m)
		}
	}
	if len(gaps) != 0 {
		t.Errorf("got gaps %q, want none", gaps)
	}
}

// TestStallWanted checks that a client which wants a new channel while NATS reads nothing does not delay clients of
// channels that the node reads.
func TestStallWanted(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	c := newCutter(t, servers.addrs[0])
	n := startNode(t, []string{"nats://" + c.ln.Addr().String()}, "--cluster-replicas", "1", "--cluster-timeout", "30s")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	c.set(true)
	for range 8 { // More than all socket buffers hold, so that a write of the node blocks.
		s := &socket{n: n}
		for range 20 {
			if s.send("news", strings.Repeat("x", 512<<10)) != nil {
				break // It is not read any more.
			}
		}
	}
	for i := range 20 {
		go func() { // It will not get in.
			conn, _, _, err := ws.Dialer{Timeout: patience}.Dial(t.Context(), fmt.Sprintf("ws://%s/other%d", n.addr, i))
			if err == nil {
				conn.Close()
			}
		}()
		if status := n.plain(t); status != 101 {
			t.Fatalf("handshake: got status %d, want 101", status)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestDenied checks that messages to a channel which NATS denies are refused, or lost, and delay no others.
func TestDenied(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 3} {
		servers := startNATS(t, count, user("crier", `permissions { publish: { deny: [ "CRIER.secret" ] } }`))
		n := startNode(t, servers.urlFor("crier"), "--cluster-replicas", strconv.Itoa(count))
		l := listen(t, "news", n)
		defer l.end()
		awaitConnected(t, l)
		for range 2 { // The second time with NATS' client still waiting for the first one's answer.
			if _, err := n.publish("secret", "", "x"); err == nil || !strings.Contains(err.Error(), "do not let this server publish") {
				t.Errorf("publishing to a denied channel: got %v", err)
			}
		}
		secret, news := &socket{n: n}, &socket{n: n}
		for i := range 100 {
			if err := secret.send("secret", "x"); err != nil {
				t.Fatal(err)
			}
			if err := news.send("news", fmt.Sprint("w ", i)); err != nil {
				t.Fatal(err)
			}
		}
		if got := l.all(100); len(got) != 100 {
			t.Errorf("got %d messages, want the permitted ones", len(got))
		}
		inOrder(t, "who listens", texts(l))
		eventually(t, "what was denied to be counted", func() error {
			if lost := n.metric(t, "crier_cluster_lost_total"); lost != 102 {
				return fmt.Errorf("got %v", lost)
			}
			return nil
		})
	}
}
