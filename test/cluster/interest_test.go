package cluster

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// metric returns a metric of a node.
func (n *node) metric(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + n.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (.+)$`).FindSubmatch(body)
	if m == nil {
		t.Fatalf("%s has no %s", n.name, name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestInterest checks that a node reads only channels that have connections, and for the linger time afterwards; a
// later client receives the history all the same.
func TestInterest(t *testing.T) {
	servers := startNATS(t, 1)
	one := startNode(t, servers.urls(), "--cluster-linger", "200ms", "--cluster-replicas", "1")
	two := startNode(t, servers.urls(), "--cluster-linger", "200ms", "--cluster-replicas", "1")
	publish := func(n *node, channel, text string) {
		t.Helper()
		if _, err := n.publish(channel, "", text); err != nil {
			t.Fatal(err)
		}
	}
	has := func(n *node, want float64) {
		t.Helper()
		if got := n.metric(t, "crier_messages_total"); got != want {
			t.Errorf("%s: got %v messages, want %v", n.name, got, want)
		}
	}
	news, sport := listen(t, "news", one), listen(t, "sport", two)
	defer sport.end()
	awaitConnected(t, news, sport)
	for i := range 10 {
		publish(one, "sport", fmt.Sprint("goal ", i))
		publish(two, "news", fmt.Sprint("word ", i))
	}
	awaitSame(t, "word 9", news)
	awaitSame(t, "goal 9", sport)
	has(one, 10)
	has(two, 10)
	news.end()
	// It is left some time after that.
	sent := 10
	eventually(t, "the channel to be left", func() error {
		before := one.metric(t, "crier_messages_total")
		publish(two, "news", fmt.Sprint("word ", sent))
		sent++
		time.Sleep(50 * time.Millisecond)
		if one.metric(t, "crier_messages_total") != before {
			return errNotYet
		}
		return nil
	})
	back := listen(t, "news?since="+strings.SplitN(news.got[0], " ", 2)[0], one)
	defer back.end()
	eventually(t, "the history", func() error {
		if got, _ := back.received(); len(got) != sent-1 {
			return fmt.Errorf("%d of %d", len(got), sent-1)
		}
		return nil
	})
	publish(one, "news", "the end")
	awaitSame(t, "the end", back)
	has(two, 10)
}

// TestInterestChanges checks that a client which moves from node to node receives all of its channel, once and in
// order, although nodes read a channel only while it has connections; also when there are so many channels that nodes
// read all.
func TestInterestChanges(t *testing.T) {
	t.Parallel()
	const channels = 12
	servers := startNATS(t, 3)
	var nodes []*node
	for range 3 {
		nodes = append(nodes, startNode(t, servers.urls(), "--cluster-linger", "100ms"))
	}
	var hoppers, stay []*listener
	for i := range channels {
		name := fmt.Sprint("room", i)
		hoppers = append(hoppers, listenFor(t, 400*time.Millisecond, name, nodes[i%3], nodes[(i+1)%3], nodes[(i+2)%3]))
		stay = append(stay, listen(t, name, nodes[i%3]))
	}
	all := append(append([]*listener(nil), hoppers...), stay...)
	defer func() {
		for _, l := range all {
			l.end()
		}
	}()
	awaitConnected(t, all...)
	var publishing sync.WaitGroup
	crowd := make(chan struct{})
	for i := range channels {
		publishing.Go(func() {
			for k := 0; ; k++ {
				if _, err := nodes[(i+k)%3].publish(fmt.Sprint("room", i), "", fmt.Sprintf("%d-%d", i, k)); err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Millisecond)
				select {
				case <-crowd:
					if k >= 100 { // On a busy machine there may have been few.
						return
					}
				default:
				}
			}
		})
	}
	time.Sleep(3 * time.Second)
	var many []*listener
	for i := range 300 { // More than are followed one by one.
		many = append(many, listen(t, fmt.Sprint("crowd", i), nodes[0]))
	}
	awaitConnected(t, many...)
	if _, err := nodes[1].publish("crowd299", "", "hello"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "hello", many[299])
	time.Sleep(time.Second)
	close(crowd)
	publishing.Wait()
	for _, l := range many {
		l.end()
	}
	eventually(t, "the crowd's channels to be left", func() error {
		before := nodes[0].metric(t, "crier_messages_total")
		if _, err := nodes[1].publish("crowd5", "", "hello?"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if nodes[0].metric(t, "crier_messages_total") != before {
			return errNotYet
		}
		return nil
	})
	for i := range channels {
		if _, err := nodes[0].publish(fmt.Sprint("room", i), "", "the end"); err != nil {
			t.Fatal(err)
		}
		if got := awaitSame(t, "the end", hoppers[i], stay[i]); len(got) < 100 {
			t.Errorf("room %d: only %d messages: too few for the test", i, len(got))
		}
	}
}
