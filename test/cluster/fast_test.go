package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startFast starts a crier of the fast mode.
func startFast(t testing.TB, urls []string, args ...string) *node {
	t.Helper()
	return startPlain(t, urls, append([]string{"--cluster-mode", "fast", "--cluster-timeout", "500ms"}, args...)...)
}

// texts returns the messages of a listener without their IDs.
func texts(l *listener) (texts []string) {
	got, _ := l.received()
	for _, m := range got {
		_, text, _ := strings.Cut(m, " ")
		texts = append(texts, text)
	}
	return texts
}

// awaitText waits until all listeners have a text.
func awaitText(t *testing.T, text string, listeners ...*listener) {
	t.Helper()
	for i, l := range listeners {
		eventually(t, fmt.Sprintf("listener %d to have %s", i, text), func() error {
			if !slices.Contains(texts(l), text) {
				return errNotYet
			}
			return nil
		})
	}
}

// inOrder checks that texts of the form "PUBLISHER NUMBER" come once each and in the order of each publisher, and
// returns how many there are of each.
func inOrder(t *testing.T, who string, texts []string) map[string]int {
	t.Helper()
	last, n := make(map[string]int), make(map[string]int)
	for _, text := range texts {
		publisher, digits, ok := strings.Cut(text, " ")
		number, err := strconv.Atoi(digits)
		if !ok || err != nil {
			continue
		}
		if before, ok := last[publisher]; ok && number <= before {
			t.Errorf("%s: got %q after %d", who, text, before)
		}
		last[publisher] = number
		n[publisher]++
	}
	return n
}

// TestFast checks that clients of three nodes receive all messages of all nodes once, and those of each publisher in
// its order, without JetStream.
func TestFast(t *testing.T) {
	servers := startNATS(t, 3, noJetStream)
	var nodes []*node
	var listeners []*listener
	for range 3 {
		n := startFast(t, servers.urls())
		nodes = append(nodes, n)
		listeners = append(listeners, listen(t, "a%20b/*.%3E", n), listen(t, "a%20b/*.%3E", n))
	}
	for _, l := range listeners {
		defer l.end()
	}
	awaitConnected(t, listeners...)
	const each = 200
	done := make(chan error)
	for i, n := range nodes {
		go func() {
			s := &socket{n: n}
			for k := range each {
				if err := s.send("a%20b/*.%3E", fmt.Sprintf("w%d %d", i, k)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		go func() {
			for k := range each {
				if _, err := n.publish("a%20b/*.%3E", "", fmt.Sprintf("h%d %d", i, k)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 * len(nodes) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range listeners {
		eventually(t, "all messages", func() error {
			if n := len(texts(l)); n < 6*each {
				return fmt.Errorf("listener %d has %d", i, n)
			}
			return nil
		})
	}
	for i, l := range listeners {
		for publisher, n := range inOrder(t, fmt.Sprint("listener ", i), texts(l)) {
			if n != each {
				t.Errorf("listener %d: got %d messages of %s, want %d", i, n, publisher, each)
			}
		}
		got, gaps := l.received()
		if other, _ := listeners[i^1].received(); len(gaps) > 0 || !slices.Equal(got, other) {
			t.Errorf("listener %d: got gaps %q, or other messages than the other listener at its node", i, gaps)
		}
	}
	for _, n := range nodes {
		if out, in := n.metric(t, "crier_cluster_forwarded_total"), n.metric(t, "crier_cluster_received_total"); out != 2*each || in != 4*each {
			t.Errorf("%s: got %v forwarded and %v received, want %d and %d", n.name, out, in, 2*each, 4*each)
		}
	}
}

// TestFastLarge checks that the largest message that a node accepts arrives at the other one, and that a node logs
// when its limit is lower than --max-message, because of NATS or of the mode.
func TestFastLarge(t *testing.T) {
	for _, tt := range []struct{ takes, most int }{{100000, 100000 - 256}, {40000000, 16<<20 - 256}} {
		servers := startNATS(t, 1, noJetStream, fmt.Sprint("max_payload: ", tt.takes))
		args := []string{"--max-message", "32MiB", "--cluster-timeout", "10s"}
		near, far := startFast(t, servers.urls(), args...), startFast(t, servers.urls(), args...)
		away := listen(t, "news", far)
		defer away.end()
		awaitConnected(t, away)
		if !strings.Contains(near.log(), fmt.Sprint("max_message=", tt.most)) {
			t.Errorf("the log does not report the limit: %s", near.log())
		}
		if _, err := near.publish("news", "", strings.Repeat("x", tt.most+1)); err == nil || !strings.HasPrefix(err.Error(), "413: ") {
			t.Errorf("one byte more: got %v, want 413", err)
		}
		text := strings.Repeat("x", tt.most)
		if _, err := near.publish("news", "", text); err != nil {
			t.Fatal(err)
		}
		awaitText(t, text, away)
	}
}

// TestModes checks that messages of one mode do not reach the other, and that their subjects do not collide.
func TestModes(t *testing.T) {
	servers := startNATS(t, 1)
	fast, ordered := startFast(t, servers.urls()), startPlain(t, servers.urls())
	other := startFast(t, servers.urls())
	var listeners []*listener
	for _, n := range []*node{fast, ordered, other} {
		l := listen(t, "fast", n)
		defer l.end()
		listeners = append(listeners, l)
	}
	awaitConnected(t, listeners...)
	for _, n := range []*node{fast, ordered} {
		if _, err := n.publish("fast", "", "at "+n.addr); err != nil {
			t.Fatal(err)
		}
	}
	awaitText(t, "at "+fast.addr, listeners[0], listeners[2])
	awaitText(t, "at "+ordered.addr, listeners[1])
	stream, err := servers.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(info.State.Subjects, func(subject string, _ uint64) bool { return strings.HasPrefix(subject, "CRIER.==") }) // Markers.
	if got := info.State.Subjects; len(got) != 1 || got["CRIER.fast"] != 1 {
		t.Errorf("got a stream with %v, want one message of CRIER.fast", got)
	}
	for i, l := range listeners {
		if got := texts(l); len(got) != 1 {
			t.Errorf("listener %d: got %q, want one message", i, got)
		}
	}
}

// TestFastForeign checks that messages of other programs are delivered if that is possible, and do no harm otherwise.
func TestFastForeign(t *testing.T) {
	servers := startNATS(t, 1, noJetStream)
	n := startFast(t, servers.urls(), "--max-message", "1000")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	nc, err := nats.Connect(servers.urls()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, m := range []struct{ subject, from, text string }{
		{"CRIER.fast.news", "", "\xff"},
		{"CRIER.fast.news", "", strings.Repeat("x", 1001)},
		{"CRIER.fast.=zz", "", "x"}, // No node subscribes to it.
		{"CRIER.fast.news", "x", "without a number"},
		{"CRIER.fast.news", "x-0", "a probe"},
		{"CRIER.fast.news", "x-5", "the fifth"},
		{"CRIER.fast.news", "x-5", "the fifth again"}, // As from two subscriptions.
		{"CRIER.fast.news", "x-4", "the fourth"},
		{"CRIER.news", "", "of the other mode"},
		{"CRIER.fast.news", "", "the last"},
	} {
		msg := nats.NewMsg(m.subject)
		if m.from != "" {
			msg.Header.Set("Crier-From", m.from)
		}
		msg.Data = []byte(m.text)
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	awaitText(t, "the last", l)
	if got, want := texts(l), []string{"the fifth", "the last"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for reason, want := range map[string]float64{"refused": 3, "late": 1, "full": 0} {
		if got := n.metric(t, fmt.Sprintf("crier_cluster_dropped_from_others_total{reason=%q}", reason)); got != want {
			t.Errorf("%s: got %v, want %v", reason, got, want)
		}
	}
}

// TestFastEnd checks that messages which were published before a drain begins reach the other nodes.
func TestFastEnd(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, noJetStream)
	near, far := startFast(t, servers.urls()), startFast(t, servers.urls())
	away := listen(t, "news", far)
	defer away.end()
	awaitConnected(t, away)
	for k := range 1000 {
		if _, err := near.publish("news", "", fmt.Sprintf("h %d", k)); err != nil {
			t.Fatal(err)
		}
	}
	near.signal(syscall.SIGTERM)
	if code := near.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	awaitText(t, "h 999", away)
	if n := inOrder(t, "who listens", texts(away)); n["h"] != 1000 {
		t.Errorf("got %v, want 1000", n)
	}
}
