package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// all waits until a listener has so many messages, and returns them.
func (l *listener) all(n int) []string {
	l.t.Helper()
	eventually(l.t, fmt.Sprint(n, " messages"), func() error {
		if got, _ := l.received(); len(got) < n {
			return fmt.Errorf("got %d", len(got))
		}
		return nil
	})
	got, _ := l.received()
	return got
}

// TestLeaders changes the leader of the stream again and again, while two publishers have as many messages on their
// way as they may. No message may be lost or delivered twice, and each publisher's order must hold.
func TestLeaders(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3)
	var nodes []*node
	var listeners []*listener
	for range 2 {
		n := startNode(t, nats.urls())
		nodes, listeners = append(nodes, n), append(listeners, listen(t, "news", n))
	}
	awaitConnected(t, listeners...)
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	sent := make([]int, len(nodes))
	for i, n := range nodes {
		publishing.Go(func() {
			for s := (&socket{n: n}); ; sent[i]++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.send("news", fmt.Sprintf("w%d %d", i, sent[i])); err != nil {
					t.Error(err)
					return
				}
				if sent[i]%10 == 0 {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
	nc := direct(t, nats)
	for range 6 {
		before, _ := listeners[0].received()
		if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.CRIER", nil, 5*time.Second); err != nil {
			t.Log(err)
		}
		listeners[0].all(len(before) + 1000)
	}
	close(stop)
	publishing.Wait()
	for _, n := range nodes {
		eventually(t, "no message to wait in "+n.name, func() error {
			if waits := n.metric(t, "crier_cluster_waiting_messages"); waits > 0 {
				return fmt.Errorf("got %v", waits)
			}
			return nil
		})
	}
	if _, err := nodes[0].publish("news", "", "the last message"); err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		defer l.end()
	}
	got := awaitSame(t, "the last message", listeners...)
	if want := sent[0] + sent[1] + 1; len(got) != want {
		t.Errorf("got %d messages, want %d", len(got), want)
	}
	inOrder(t, "who listens", texts(listeners[0]))
}

// TestBatchAgain loses the connection with the answer to a batch that the stream has accepted. No message may be
// delivered twice, and HTTP publishers must get the IDs of their messages.
func TestBatchAgain(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3)
	link := newCutter(t, nats.addrs[0])
	n := startNode(t, []string{"nats://" + link.ln.Addr().String()}, "--cluster-timeout", "5s")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	commits := make(chan struct{}, 1)
	link.change(func(b []byte) {
		if bytes.Contains(b, []byte("Nats-Batch-Commit")) && !link.stall {
			link.stall = true // Bytes that were read still pass; later ones and answers do not.
			commits <- struct{}{}
		}
	})
	answers := make(chan []string, 1)
	go func() {
		ids, err := n.publishBatch("", "news", "b", 100)
		if err != nil {
			t.Error(err)
		}
		answers <- ids
	}()
	select {
	case <-commits:
	case <-time.After(patience):
		t.Fatal("no batch was sent")
	}
	stream, err := nats.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream to have the messages", func() error {
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("CRIER.news"))
		if err == nil && info.State.Subjects["CRIER.news"] < 100 {
			err = fmt.Errorf("got %d", info.State.Subjects["CRIER.news"])
		}
		return err
	})
	link.change(nil)
	link.set(false)
	link.cut()
	got := l.all(100)
	ids := <-answers
	if len(got) != 100 || len(ids) != 100 {
		t.Fatalf("got %d messages, and %d IDs, want 100 of each", len(got), len(ids))
	}
	for i, m := range got {
		if want := fmt.Sprintf("%s b %d", ids[i], i); m != want {
			t.Errorf("got %q, want %q", m, want)
		}
	}
	if n.metric(t, "crier_cluster_resent_total") == 0 {
		t.Error("no message was sent again: the test needs some")
	}
}

// TestBatchOnce checks that a batch that is repeated at another node publishes nothing, and gets the same IDs.
func TestBatchOnce(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3)
	one, two := startNode(t, nats.urls()), startNode(t, nats.urls())
	l := listen(t, "news", two)
	defer l.end()
	awaitConnected(t, l)
	first, err := one.publishBatch("a key", "news", "b", 300)
	if err != nil {
		t.Fatal(err)
	}
	again, err := two.publishBatch("a key", "news", "b", 300)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 300 || !slices.Equal(first, again) {
		t.Errorf("got other IDs for the repeated batch: %d and %d", len(first), len(again))
	}
	if _, err := two.publish("news", "", "the last message"); err != nil {
		t.Fatal(err)
	}
	got := awaitSame(t, "the last message", l)
	if len(got) != 301 {
		t.Errorf("got %d messages, want 301", len(got))
	}
	inOrder(t, "who listens", texts(l))
}

// TestNoBatches checks that an existing stream of three servers that does not accept batches is used as it is.
func TestNoBatches(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3)
	js := nats.jetStream(t)
	eventually(t, "a stream", func() error {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CRIER", Subjects: []string{"CRIER.*"}, Replicas: 3})
		return err
	})
	n := startNode(t, nats.urls())
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	if _, err := n.publishBatch("", "news", "b", 300); err != nil {
		t.Fatal(err)
	}
	l.all(300)
	inOrder(t, "who listens", texts(l))
	if !strings.Contains(n.log(), "--allow-batch") {
		t.Error("the log does not report that the stream has no batches")
	}
	if stream, err := js.Stream(t.Context(), "CRIER"); err != nil || stream.CachedInfo().Config.AllowAtomicPublish {
		t.Errorf("got %v, %v: the stream was altered", stream, err)
	}
}

// publishBatch publishes texts of the form "PREFIX NUMBER" over HTTP, and returns their IDs.
func (n *node) publishBatch(key, channel, prefix string, count int) (ids []string, err error) {
	var body bytes.Buffer
	for i := range count {
		fmt.Fprintf(&body, "{\"channel\":%q,\"data\":\"%s %d\"}\n", channel, prefix, i)
	}
	r, err := http.NewRequest("POST", "http://"+n.admin+"/v1/publish", &body)
	if err != nil {
		return nil, err
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := (&http.Client{Timeout: patience}).Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%d: %s: %v", resp.StatusCode, answer, err)
	}
	for line := range bytes.Lines(answer) {
		var p struct{ ID string }
		if err := json.Unmarshal(line, &p); err != nil {
			return nil, err
		}
		ids = append(ids, p.ID)
	}
	return ids, nil
}

// TestForgotten has a request that is not answered in time, and is repeated with its key at another node. When the
// first one goes through, the stream no longer knows the key: each message must be published once all the same.
func TestForgotten(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	_, err := servers.jetStream(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: "CRIER", Subjects: []string{"CRIER.*"}, Duplicates: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	link := newCutter(t, servers.addrs[0])
	near, far := startNode(t, servers.urls(), "--cluster-replicas", "1"), startNode(t, []string{"nats://" + link.ln.Addr().String()}, "--cluster-replicas", "1", "--cluster-timeout", "1s")
	l := listen(t, "news", near)
	defer l.end()
	awaitConnected(t, l)
	link.set(true)
	const many = 1500 // More than may be in flight.
	if _, err := far.publishBatch("a key", "news", "paid", many); err == nil || !strings.Contains(err.Error(), "the message may be published or not") {
		t.Fatalf("got %v", err)
	}
	if _, err := near.publishBatch("a key", "news", "paid", many); err != nil {
		t.Fatal(err)
	}
	link.cut()
	time.Sleep(6 * time.Second) // Until the dedup window of the stream has passed.
	link.set(false)
	eventually(t, "the last message", func() error {
		_, err := far.publish("news", "last", "last")
		return err
	})
	if got := awaitSame(t, "last", l); len(got) != many+1 {
		t.Errorf("got %d messages, want %d with the last one", len(got), many)
	}
}
