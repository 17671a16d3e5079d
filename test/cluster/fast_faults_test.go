package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestFastOutage checks that without NATS the clients of a node still receive each other's messages at once, and that
// publishers get their answers. When NATS is back, the other nodes receive messages again, in order and once.
func TestFastOutage(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, noJetStream)
	near, far := startFast(t, servers.urls()), startFast(t, servers.urls())
	l, away := listen(t, "news", near), listen(t, "news", far)
	defer l.end()
	defer away.end()
	awaitConnected(t, l, away)
	s := &socket{n: near}
	number := 0
	publish := func(times int) {
		t.Helper()
		for range times {
			number++
			if err := s.send("news", fmt.Sprintf("w %d", number)); err != nil {
				t.Fatal(err)
			}
			if _, err := near.publish("news", "", fmt.Sprintf("h %d", number)); err != nil {
				t.Fatal(err)
			}
		}
		awaitText(t, fmt.Sprintf("w %d", number), l)
	}
	publish(10)
	awaitText(t, "h 10", away)
	awaitText(t, "w 10", away)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		servers.servers[0].signal(sig)
		eventually(t, "the node to be unready", func() error {
			if err := near.ready(); err == nil || !strings.Contains(err.Error(), "NATS is not reachable") {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
		const old = `crier_cluster_dropped_to_others_total{reason="old"}`
		dropped := near.metric(t, old)
		publish(10)
		eventually(t, "messages older than --cluster-timeout to be dropped", func() error {
			if n := near.metric(t, old) - dropped; n != 20 {
				return fmt.Errorf("got %v", n)
			}
			return nil
		})
		if sig == syscall.SIGKILL {
			servers.servers[0].start()
		} else {
			servers.servers[0].signal(syscall.SIGCONT)
		}
		eventually(t, "the node to be ready", near.ready)
		eventually(t, "the other node to be ready", far.ready)
		publish(10)
		awaitText(t, fmt.Sprintf("w %d", number), away)
		awaitText(t, fmt.Sprintf("h %d", number), away)
	}
	if n := inOrder(t, "the client of this node", texts(l)); n["w"] != number || n["h"] != number {
		t.Errorf("the client of this node got %v, want %d of each", n, number)
	}
	inOrder(t, "the client of the other node", texts(away))
	if log := near.log(); !strings.Contains(log, "dropped messages between servers") {
		t.Errorf("the log does not report dropped messages: %s", log)
	}
}

// TestFastOvertaken has a node reconnect to NATS while messages on its old connection are still on their way. They
// must not arrive after newer ones, nor at the node itself.
func TestFastOvertaken(t *testing.T) {
	servers := startNATS(t, 1, noJetStream)
	c := newCutter(t, servers.addrs[0])
	near, far := startFast(t, []string{"nats://" + c.ln.Addr().String()}), startFast(t, servers.urls())
	l, away := listen(t, "news", near), listen(t, "news", far)
	defer l.end()
	defer away.end()
	awaitConnected(t, l, away)
	number := 0
	publish := func(times int) {
		t.Helper()
		for range times {
			number++
			if _, err := near.publish("news", "", fmt.Sprintf("h %d", number)); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(5)
	awaitText(t, "h 5", away)
	c.hold()
	publish(5)
	eventually(t, "the node to lose NATS", func() error {
		if !strings.Contains(near.log(), "lost the connection to NATS") {
			return errNotYet
		}
		return nil
	})
	eventually(t, "the node to be ready", func() error {
		if !strings.Contains(near.log(), "reconnected to NATS") {
			return errNotYet
		}
		return near.ready()
	})
	publish(5)
	awaitText(t, "h 15", l, away)
	c.letGo()
	eventually(t, "the old messages to arrive", func() error {
		if n := far.metric(t, `crier_cluster_dropped_from_others_total{reason="late"}`); n != 5 {
			return fmt.Errorf("got %v late messages", n)
		}
		return nil
	})
	publish(1)
	awaitText(t, "h 16", l, away)
	if n := inOrder(t, "the client of this node", texts(l)); n["h"] != 16 {
		t.Errorf("the client of this node got %v, want 16", n)
	}
	if n := inOrder(t, "the client of the other node", texts(away)); n["h"] != 11 {
		t.Errorf("the client of the other node got %v, want 11", n)
	}
}

// TestFastStall checks that a NATS server which reads nothing, while much is published, delays nobody and costs
// bounded memory.
func TestFastStall(t *testing.T) {
	servers := startNATS(t, 1, noJetStream)
	near, far := startFast(t, servers.urls(), "--cluster-timeout", "5s"), startFast(t, servers.urls())
	away := listen(t, "end", far)
	defer away.end()
	awaitConnected(t, away)
	servers.servers[0].signal(syscall.SIGSTOP)
	s := &socket{n: near}
	const messages, size = 2000, 256 << 10
	for range messages {
		if err := s.send("news", strings.Repeat("x", size)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := near.publish("end", "", "over HTTP"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all messages to be accepted", func() error {
		if n := near.metric(t, "crier_messages_total"); n != messages+1 {
			return fmt.Errorf("got %v", n)
		}
		return nil
	})
	if status := near.plain(t); status != 101 {
		t.Errorf("handshake: got status %d, want 101", status)
	}
	if n := near.metric(t, "process_resident_memory_bytes"); n > messages*size/3 {
		t.Errorf("got %.0f bytes of memory, with %d bytes published", n, messages*size)
	}
	dropped := near.metric(t, `crier_cluster_dropped_to_others_total{reason="full"}`) +
		near.metric(t, `crier_cluster_dropped_to_others_total{reason="old"}`)
	if kept := (16<<20)/size + 100; dropped < float64(messages-kept) {
		t.Errorf("got %v dropped messages, want all but about %d", dropped, kept)
	}
	servers.servers[0].signal(syscall.SIGCONT)
	eventually(t, "the other node to receive messages again", func() error {
		if _, err := near.publish("end", "", "after"); err != nil {
			return err
		}
		if !slices.Contains(texts(away), "after") {
			return errNotYet
		}
		return nil
	})
}

// TestFastBehind checks that a node which is too slow for the messages of others drops and counts what exceeds its
// queue, and continues in order.
func TestFastBehind(t *testing.T) {
	servers := startNATS(t, 1, noJetStream, "max_pending: 1GB", "write_deadline: \"60s\"")
	near := startFast(t, servers.urls(), "--cluster-timeout", "20s")
	far := startFast(t, servers.urls(), "--cluster-timeout", "20s", "--retain", "64KiB", "--retain-total", "64KiB")
	away := listen(t, "news", far)
	defer away.end()
	awaitConnected(t, away)
	far.signal(syscall.SIGSTOP)
	const messages, size = 50, 900 << 10 // 2.5 times what its queue holds; each is more than far retains.
	publish := func(k int) {
		t.Helper()
		if _, err := near.publish("news", "", fmt.Sprintf("h %d %s", k, strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the message to be forwarded", func() error {
			if n := near.metric(t, "crier_cluster_forwarded_total"); n != float64(k+1) {
				return fmt.Errorf("got %v", n)
			}
			return nil
		})
	}
	for k := range messages {
		publish(k)
	}
	far.signal(syscall.SIGCONT)
	full := 0.0
	eventually(t, "all to be received or dropped", func() error {
		full = far.metric(t, `crier_cluster_dropped_from_others_total{reason="full"}`)
		if received := far.metric(t, "crier_cluster_received_total"); received+full != messages {
			return fmt.Errorf("got %v received, %v dropped", received, full)
		}
		return nil
	})
	if full == 0 {
		t.Error("got no dropped messages, want some")
	}
	if n := far.metric(t, "process_resident_memory_bytes"); n > 150<<20 {
		t.Errorf("got %.0f bytes of memory, want at most 150 MiB", n)
	}
	publish(messages)
	eventually(t, "the last message to arrive", func() error {
		if got := texts(away); len(got) == 0 || !strings.HasPrefix(got[len(got)-1], fmt.Sprintf("h %d ", messages)) {
			return errNotYet
		}
		return nil
	})
	var got []string
	for _, text := range texts(away) {
		got = append(got, strings.TrimRight(text, " x"))
	}
	if n := inOrder(t, "the client", got)["h"]; n > messages+1-int(full) { // The client itself may have been lapped.
		t.Errorf("the client got %d messages, with %v of %d dropped", n, full, messages+1)
	}
}

// TestFastFaults checks that clients receive everything that is published at their own node, whatever goes wrong
// between three NATS servers and three nodes; and what is published elsewhere at most once, in the order of its
// publisher. In the end they receive everything again.
func TestFastFaults(t *testing.T) {
	servers := startNATS(t, 3, noJetStream)
	var nodes []*node
	var cutters []*cutter
	var listeners []*listener
	for range 3 {
		var urls []string
		for _, addr := range servers.addrs {
			c := newCutter(t, addr)
			cutters = append(cutters, c)
			urls = append(urls, "nats://"+c.ln.Addr().String())
		}
		n := startFast(t, urls)
		nodes = append(nodes, n)
		listeners = append(listeners, listen(t, "news", n))
	}
	for _, l := range listeners {
		defer l.end()
	}
	awaitConnected(t, listeners...)
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	sent := make([]int, len(nodes)) // Each element is owned by one goroutine until publishing has ended.
	for i, n := range nodes {
		publishing.Go(func() {
			for s := (&socket{n: n}); ; sent[i]++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				if err := s.send("news", fmt.Sprintf("w%d %d", i, sent[i])); err != nil {
					t.Error(err)
					return
				}
				if _, err := n.publish("news", "", fmt.Sprintf("h%d %d", i, sent[i])); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(*seed, 1))
	for k := range *faults {
		t.Logf("%d: %s", k, fastFault(r, servers, cutters))
		time.Sleep(time.Duration(200+r.IntN(800)) * time.Millisecond)
	}
	close(stop)
	publishing.Wait()
	for _, n := range nodes {
		eventually(t, n.name+" to be ready", n.ready)
	}
	for i, n := range nodes {
		text := fmt.Sprint("end of ", i)
		for _, l := range listeners {
			eventually(t, "all nodes to receive messages of each other again", func() error {
				if _, err := n.publish("news", "", text); err != nil {
					return err
				}
				if !slices.Contains(texts(l), text) {
					return errNotYet
				}
				return nil
			})
		}
	}
	for i, l := range listeners {
		got := inOrder(t, fmt.Sprint("listener ", i), texts(l))
		t.Logf("listener %d: %v of %v", i, got, sent)
		for _, publisher := range []string{fmt.Sprint("w", i), fmt.Sprint("h", i)} {
			if got[publisher] != sent[i] {
				t.Errorf("listener %d got %d of the %d messages of %s at its own node", i, got[publisher], sent[i], publisher)
			}
		}
		if _, gaps := l.received(); len(gaps) > 0 {
			t.Errorf("listener %d: gaps %q", i, gaps)
		}
	}
}

// fastFault causes a random fault, repairs it, and returns what it was.
func fastFault(r *rand.Rand, servers *natsCluster, cutters []*cutter) string {
	outage := time.Duration(200+r.IntN(3000)) * time.Millisecond
	s, i := servers.servers[r.IntN(len(servers.servers))], r.IntN(3)
	switch r.IntN(5) {
	case 0:
		s.signal(syscall.SIGKILL)
		time.Sleep(outage)
		s.start()
		return fmt.Sprint(s.name, " was killed for ", outage)
	case 1:
		s.signal(syscall.SIGSTOP)
		time.Sleep(outage)
		s.signal(syscall.SIGCONT)
		return fmt.Sprint(s.name, " was stopped for ", outage)
	case 2:
		for _, c := range cutters {
			c.cut()
		}
		return "connections were cut"
	case 3:
		for _, c := range cutters[3*i : 3*i+3] {
			c.hold()
		}
		time.Sleep(outage)
		for _, c := range cutters[3*i : 3*i+3] {
			c.letGo()
		}
		return fmt.Sprint("bytes of node ", i, " were delayed for ", outage)
	default:
		for _, c := range cutters[3*i : 3*i+3] {
			c.set(true)
		}
		time.Sleep(outage)
		for _, c := range cutters[3*i : 3*i+3] {
			c.set(false)
		}
		return fmt.Sprint("node ", i, " was cut off for ", outage)
	}
}
