package cluster

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestSplit cuts a NATS server off from the others, first the leader of the stream and then another one, with the
// node that reaches NATS only through it. The other nodes continue. Messages that the isolated node has accepted are
// not lost, and in the end all clients have the same.
func TestSplit(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3, splittable)
	var nodes []*node
	r := &room{}
	for _, url := range nats.urls() {
		n := startNode(t, []string{url}, "--cluster-hold", "60s")
		nodes = append(nodes, n)
		r.listen(listen(t, "news", n))
	}
	awaitConnected(t, r.listeners...)
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for i, n := range nodes {
		publishing.Go(func() { r.publish(n, "news", fmt.Sprint("h", i), stop) })
		publishing.Go(func() { sendAll(n, "news", fmt.Sprint("w", i), stop) })
	}
	off := nats.leader(t, "CRIER")
	for _, reset := range []bool{false, true} {
		nats.isolate(off, true, false)
		for i, n := range nodes {
			if nats.servers[i] == off {
				eventually(t, n.name+" to be unready", func() error {
					if n.ready() == nil {
						return errNotYet
					}
					return nil
				})
				continue
			}
			eventually(t, n.name+" to publish", func() error {
				_, err := n.publish("news", "", fmt.Sprintf("%v: %s goes on %d", reset, n.name, time.Now().UnixNano()))
				return err
			})
		}
		nats.isolate(off, false, reset)
		for _, n := range nodes {
			eventually(t, n.name+" to be ready", n.ready)
		}
		for _, server := range nats.servers {
			if server != nats.leader(t, "CRIER") {
				off = server
			}
		}
	}
	close(stop)
	publishing.Wait()
	r.end(t, "news", nodes)
}
