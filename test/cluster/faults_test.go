package cluster

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	faults = flag.Int("faults", 8, "number of faults in TestFaults and TestFastFaults")
	seed   = flag.Uint64("seed", 1, "seed of the faults")
	pace   = flag.Int("pace", 2, "most seconds between two faults of TestFaults, about")
	// NATS elects another leader after 4 to 9 seconds.
	longest = flag.Int("longest", 3, "most seconds that a fault of TestFaults lasts, about")
)

// TestFaults checks that all clients of all nodes receive the same messages once, in the order of each publisher, and
// all that were acknowledged, whatever goes wrong with and between three NATS servers and three nodes. In one of the
// two channels clients move from node to node, so that nodes read it only for a while.
func TestFaults(t *testing.T) {
	nats := startNATS(t, 3, splittable)
	var nodes []*node
	var cutters []*cutter
	for range 3 {
		var urls []string
		for _, addr := range nats.addrs {
			c := newCutter(t, addr)
			cutters = append(cutters, c)
			urls = append(urls, "nats://"+c.ln.Addr().String())
		}
		nodes = append(nodes, startNode(t, urls, "--cluster-hold", "10s", "--cluster-linger", "500ms"))
	}
	rooms := map[string]*room{"news": {}, "sport": {}}
	for i, n := range nodes {
		second, third := nodes[(i+1)%3], nodes[(i+2)%3]
		rooms["news"].listen(listen(t, "news", n), listen(t, "news", n, second, third))
		rooms["sport"].listen(listenFor(t, 3*time.Second, "sport", n, second, third))
	}
	rooms["sport"].listen(listen(t, "sport", nodes[0]))
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for name, r := range rooms {
		awaitConnected(t, r.listeners...)
		for i, n := range nodes {
			publishing.Go(func() { r.publish(n, name, fmt.Sprint("h", i), stop) })
			publishing.Go(func() { sendAll(n, name, fmt.Sprint("w", i), stop) })
		}
	}
	random := rand.New(rand.NewPCG(*seed, 0))
	kinds := make(map[string]int)
	for k := range *faults {
		kind, what := fault(t, random, nats, nodes, cutters)
		kinds[kind]++
		t.Logf("%d: %s: %s", k, kind, what)
		time.Sleep(time.Duration(500+random.IntN(int(1000**pace))) * time.Millisecond)
	}
	close(stop)
	publishing.Wait()
	t.Log(kinds)
	for _, n := range nodes {
		eventually(t, n.name+" to be ready", n.ready)
	}
	for name, r := range rooms {
		r.end(t, name, nodes)
	}
}

// room is a channel of TestFaults.
type room struct {
	listeners []*listener

	mu           sync.Mutex
	acknowledged map[string]string // Guarded by mu: texts by their IDs.
}

func (r *room) listen(l ...*listener) { r.listeners = append(r.listeners, l...) }

// publish publishes over HTTP until stop is closed, and notes which messages were acknowledged.
func (r *room) publish(n *node, channel, prefix string, stop <-chan struct{}) {
	for k := 0; ; k++ {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		text := fmt.Sprintf("%s %d", prefix, k)
		if id, err := n.publish(channel, "", text); err == nil {
			r.mu.Lock()
			if r.acknowledged == nil {
				r.acknowledged = make(map[string]string)
			}
			r.acknowledged[id] = text
			r.mu.Unlock()
		}
	}
}

// sendAll publishes over a WebSocket until stop is closed. The messages may be lost.
func sendAll(n *node, channel, prefix string, stop <-chan struct{}) {
	s := &socket{n: n}
	for k := 0; ; k++ {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		_ = s.send(channel, fmt.Sprintf("%s.%d %d", prefix, s.dialed, k)) // Order holds for each connection.
	}
}

// end publishes the last message, after all that the nodes have accepted, and checks what all listeners have.
func (r *room) end(t *testing.T, channel string, nodes []*node) {
	t.Helper()
	for i, n := range nodes { // Messages that a node has accepted may not be in the stream yet.
		tries := 0
		eventually(t, "all messages of "+n.name+" to be in the stream", func() error {
			tries++
			_, err := n.publish(channel, "", fmt.Sprintf("flush %d-%d", i, tries))
			return err
		})
	}
	eventually(t, "the last message", func() error {
		_, err := nodes[0].publish(channel, "", "the last one")
		return err
	})
	r.check(t, channel)
}

// check waits for the last message, and checks what all listeners have.
func (r *room) check(t *testing.T, name string) {
	for _, l := range r.listeners {
		defer l.end()
	}
	got := awaitSame(t, "the last one", r.listeners...)
	inOrder(t, name, texts(r.listeners[0]))
	ids := make(map[string]string)
	for _, m := range got {
		id, text, _ := strings.Cut(m, " ")
		ids[id] = text
	}
	missing := 0
	for id, text := range r.acknowledged {
		if ids[id] != text {
			missing++
			t.Errorf("%s: %s was acknowledged as %q; got %q", name, id, text, ids[id])
		}
	}
	t.Logf("%s: %d messages, %d of them acknowledged over HTTP, %d of those missing", name, len(got), len(r.acknowledged), missing)
	if len(r.acknowledged) < 10**faults {
		t.Errorf("%s: only %d messages were acknowledged: too few for the test", name, len(r.acknowledged))
	}
}

// fault causes a random fault, repairs it, and returns what it was.
func fault(t *testing.T, r *rand.Rand, nats *natsCluster, nodes []*node, cutters []*cutter) (kind, what string) {
	outage := time.Duration(200+r.IntN(1000**longest)) * time.Millisecond
	kinds := []string{
		"nats killed", "leader killed", "nats stopped", "leader stopped", "nats cut off", "leader cut off",
		"crier killed", "crier stopped", "cut", "one is stalled", "all are stalled",
	}
	kind = kinds[r.IntN(len(kinds))]
	server := nats.servers[r.IntN(len(nats.servers))]
	node := r.IntN(len(nodes))
	if strings.HasPrefix(kind, "leader") {
		server = nats.leader(t, "CRIER")
	}
	stalled := cutters
	if kind == "one is stalled" {
		stalled = cutters[3*node : 3*node+3]
	}
	switch kind {
	case "nats killed", "leader killed":
		server.signal(syscall.SIGKILL)
		time.Sleep(outage)
		server.start()
		return kind, fmt.Sprint(server.name, ", for ", outage)
	case "nats stopped", "leader stopped":
		server.signal(syscall.SIGSTOP)
		time.Sleep(outage)
		server.signal(syscall.SIGCONT)
		return kind, fmt.Sprint(server.name, ", for ", outage)
	case "nats cut off", "leader cut off":
		reset := r.IntN(2) == 0
		nats.isolate(server, true, false)
		time.Sleep(outage)
		nats.isolate(server, false, reset)
		return kind, fmt.Sprint(server.name, ", for ", outage, ", connections reset: ", reset)
	case "crier killed", "crier stopped":
		nodes[node].signal(map[string]syscall.Signal{"crier killed": syscall.SIGKILL, "crier stopped": syscall.SIGTERM}[kind])
		nodes[node].restart()
		return kind, nodes[node].name
	case "cut":
		for _, c := range cutters {
			if r.IntN(2) == 0 {
				c.cut()
			}
		}
		return kind, "some connections"
	default:
		for _, c := range stalled {
			c.set(true)
		}
		time.Sleep(outage)
		for _, c := range stalled {
			c.set(false)
			if kind == "all are stalled" {
				c.cut()
			}
		}
		return kind, fmt.Sprint(nodes[node].name, " or all, for ", outage)
	}
}
