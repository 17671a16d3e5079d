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
	faults = flag.Int("faults", 8, "how many things go wrong in TestFaults")
	seed   = flag.Uint64("seed", 1, "of TestFaults")
)

// TestFaults: whatever goes wrong between three servers of NATS and three nodes, every client on every node gets the same,
// nothing twice, and nothing is missing that was acknowledged.
func TestFaults(t *testing.T) {
	nats := startNATS(t, 3)
	var nodes []*node
	var cutters []*cutter
	for range 3 {
		var urls []string
		for _, addr := range nats.addrs {
			c := newCutter(t, addr)
			cutters = append(cutters, c)
			urls = append(urls, "nats://"+c.ln.Addr().String())
		}
		nodes = append(nodes, startNode(t, urls, "--cluster-hold", "10s"))
	}
	var listeners []*listener
	for i, n := range nodes {
		listeners = append(listeners, listen(t, "news", n), listen(t, "news", nodes[i], nodes[(i+1)%3], nodes[(i+2)%3]))
	}
	present(t, listeners...)
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	var mu sync.Mutex
	acknowledged := make(map[string]string) // Texts by ids.
	for i, n := range nodes {
		publishing.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				text := fmt.Sprintf("h%d-%d", i, k)
				if id, err := n.publish("news", "", text); err == nil {
					mu.Lock()
					acknowledged[id] = text
					mu.Unlock()
				}
			}
		})
		publishing.Go(func() {
			s := &speaker{n: n}
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				_ = s.say("news", fmt.Sprintf("w%d-%d", i, k)) // It may be lost.
			}
		})
	}
	r := rand.New(rand.NewPCG(*seed, 0))
	for k := range *faults {
		what := fault(r, nats, nodes, cutters)
		t.Logf("%d: %s", k, what)
		time.Sleep(time.Duration(500+r.IntN(1500)) * time.Millisecond)
	}
	close(stop)
	publishing.Wait()
	for _, n := range nodes {
		eventually(t, n.name+" to be ready", n.ready)
	}
	eventually(t, "the last message", func() error {
		_, err := nodes[0].publish("news", "", "the last one")
		return err
	})
	for _, l := range listeners {
		defer l.end()
	}
	eventually(t, "all to have got the last one", func() error {
		for i, l := range listeners {
			if got, _ := l.have(); len(got) == 0 || !strings.HasSuffix(got[len(got)-1], " the last one") {
				return fmt.Errorf("listener %d has %d messages", i, len(got))
			}
		}
		return nil
	})
	got := same(t, "the last one", listeners...)
	ids := make(map[string]string)
	for _, m := range got {
		id, text, _ := strings.Cut(m, " ")
		ids[id] = text
	}
	missing := 0
	for id, text := range acknowledged {
		if ids[id] != text {
			missing++
			t.Errorf("%s was acknowledged as %q; got %q", id, text, ids[id])
		}
	}
	t.Logf("%d messages, %d of them acknowledged over HTTP, %d of those missing", len(got), len(acknowledged), missing)
	if len(acknowledged) < 10**faults {
		t.Errorf("only %d messages were acknowledged: the test shows little", len(acknowledged))
	}
}

// fault makes something go wrong, and right again, and says what.
func fault(r *rand.Rand, nats *natsCluster, nodes []*node, cutters []*cutter) string {
	for_ := time.Duration(200+r.IntN(3000)) * time.Millisecond
	switch kind := r.IntN(7); kind {
	case 0, 1:
		s := nats.servers[r.IntN(len(nats.servers))]
		if kind == 0 {
			s.signal(syscall.SIGKILL)
			time.Sleep(for_)
			s.start()
			return fmt.Sprint(s.name, " is killed for ", for_)
		}
		s.signal(syscall.SIGSTOP)
		time.Sleep(for_)
		s.signal(syscall.SIGCONT)
		return fmt.Sprint(s.name, " stands still for ", for_)
	case 2, 3:
		n := nodes[r.IntN(len(nodes))]
		sig := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[kind-2]
		n.signal(sig)
		n.restart()
		return fmt.Sprintf("%s: %v, and it is started again", n.name, sig)
	case 4:
		for _, c := range cutters {
			if r.IntN(2) == 0 {
				c.cut()
			}
		}
		return "connections are cut"
	case 5:
		i := r.IntN(len(nodes))
		for _, c := range cutters[3*i : 3*i+3] {
			c.set(true)
		}
		time.Sleep(for_)
		for _, c := range cutters[3*i : 3*i+3] {
			c.set(false)
		}
		return fmt.Sprint(nodes[i].name, " hears nothing of NATS for ", for_)
	default:
		for _, c := range cutters {
			c.set(true)
		}
		time.Sleep(for_)
		for _, c := range cutters {
			c.set(false)
			c.cut()
		}
		return fmt.Sprint("nobody hears of NATS for ", for_)
	}
}
