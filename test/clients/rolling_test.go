package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRollingRestart: three nodes behind HAProxy are restarted, one after the other, while back ends and clients
// publish. Each client of clients/js, in Chromium and in Node, gets every message once, in one order, and sees no gap.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	needNode(t)
	needTools(t, "chromium")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	w := startTown(t, nil)
	fleets := []*fleet{
		startFleet(t, true, "node", "fleet_page.mjs", browser),
		startFleet(t, false, "node", append(experimental(t), "fleet_node.mjs")...),
	}
	w.await(t)
	var all, speakers []*jsClient
	for i, transport := range []string{"websocket", "auto", "websocket", "events"} {
		for k, f := range fleets {
			c := f.open(t, fmt.Sprint(transport, i, k), "ws://"+w.clients+"/room", commandLine{"transport": transport}, nil)
			all = append(all, c)
			if i < 2 {
				speakers = append(speakers, c)
			}
		}
	}
	for _, c := range all {
		c.await(t, "open")
	}
	l := &ledger{acked: map[string]string{}, said: make([]int, len(speakers))}
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for i := range 3 {
		publishing.Go(func() { l.publish(w, i, stop) }) // ends with stop
	}
	publishing.Go(func() { l.speak(t, speakers, stop) }) // ends with stop
	end := sync.OnceFunc(func() {
		close(stop)
		publishing.Wait()
	})
	defer end()
	l.more(t)
	for _, name := range []string{"node1", "node2", "node3"} {
		w.restart(t, name)
		l.more(t)
	}
	end()
	l.settle(t, w, all, speakers)
}

// ledger is what publishers know.
type ledger struct {
	mu    sync.Mutex
	acked map[string]string // guarded by mu: what was acknowledged, by its ids
	again []string          // guarded by mu: what was answered else
	said  []int             // guarded by mu: how much each speaker was told to send
}

// every is how long each publisher waits before the next message. A page reports each that it gets to a test, which
// takes it a while.
const every = 20 * time.Millisecond

// publish publishes over HTTP until stop is closed, each text until it is acknowledged: with a key that is its own.
func (l *ledger) publish(w *town, name int, stop <-chan struct{}) {
	for i := 0; ; {
		select {
		case <-stop:
			return
		case <-time.After(every):
		}
		text := fmt.Sprintf("http %d %d", name, i)
		status, body := w.publish("room", text, text)
		var answer struct{ ID string }
		_ = json.Unmarshal([]byte(body), &answer) // HAProxy's own answers are not crier's.
		l.mu.Lock()
		if status == http.StatusOK {
			l.acked[answer.ID] = text
			i++
		} else {
			l.again = append(l.again, fmt.Sprintf("%d %s", status, body))
		}
		l.mu.Unlock()
	}
}

// speak has clients publish until stop is closed.
func (l *ledger) speak(t *testing.T, speakers []*jsClient, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(every):
		}
		l.mu.Lock()
		for i, c := range speakers {
			l.said[i]++
			c.send(t, fmt.Sprintf("ws %d %d", i, l.said[i]))
		}
		l.mu.Unlock()
	}
}

// more waits until more has been published.
func (l *ledger) more(t *testing.T) {
	t.Helper()
	count := func() (acked, said int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acked), l.said[0]
	}
	acked, said := count()
	err := poll(fleetTimeout, func() error {
		if a, s := count(); a < acked+50 || s < said+50 {
			return fmt.Errorf("%d were acknowledged, %d sent", a-acked, s-said)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// settle checks what all have got, when nothing more is published: up to what is published here.
func (l *ledger) settle(t *testing.T, w *town, all, speakers []*jsClient) {
	t.Helper()
	for i, c := range speakers { // What each has sent comes before.
		text := fmt.Sprintf("ws %d is done", i)
		c.send(t, text)
		for c.await(t, "message").Data != text {
		}
	}
	status, body := w.publish("room", "done", "all is done")
	var last struct{ ID string }
	if err := json.Unmarshal([]byte(body), &last); err != nil || status != http.StatusOK {
		t.Fatalf("at the end: got %d, %s", status, body)
	}
	for _, c := range all {
		c.awaitID(t, last.ID)
	}
	first := received(t, all[0])
	for _, c := range all[1:] {
		if got := received(t, c); !slices.Equal(got, first) {
			t.Errorf("%s has got %d messages, others %d, and they are not the same", c.name, len(got), len(first))
		}
	}
	l.compare(t, first, speakers)
}

// received is what a client has got, as "id text". It checks that it was moved, and nothing came twice.
func received(t *testing.T, c *jsClient) (got []string) {
	t.Helper()
	opened, connected, seen := 0, false, map[string]bool{}
	for _, h := range c.happened() {
		switch h.Type {
		case "open":
			opened, connected = opened+1, true
		case "gap", "close":
			t.Errorf("%s: got %+v", c.name, h)
		case "disconnect":
			if connected && h.Code != 1001 { // Else it is a try that failed.
				t.Errorf("%s: got %+v, want 1001", c.name, h)
			}
			connected = false
		case "message":
			if seen[h.Data] || seen[h.ID] {
				t.Errorf("%s: %s, %q came twice", c.name, h.ID, h.Data)
			}
			seen[h.ID], seen[h.Data] = true, true
			got = append(got, h.ID+" "+h.Data)
		}
	}
	if opened < 2 {
		t.Errorf("%s was never moved: it was open %d times", c.name, opened)
	}
	return got
}

// compare compares what all have got with what was published.
func (l *ledger) compare(t *testing.T, got []string, speakers []*jsClient) {
	t.Helper()
	there := make(map[string]bool)
	for _, m := range got {
		_, text, _ := strings.Cut(m, " ")
		there[m], there[text] = true, true
	}
	for id, text := range l.acked {
		if !there[id+" "+text] {
			t.Errorf("%s was acknowledged as %q, and is not there", text, id)
		}
	}
	said, refused, lost := 0, 0, 0
	for i, c := range speakers {
		notSent := make(map[string]bool)
		for _, h := range c.happened() {
			if h.Type == "error" {
				notSent[h.Data] = true
				refused++
			}
		}
		said += l.said[i]
		for k := range l.said[i] {
			if text := fmt.Sprintf("ws %d %d", i, k+1); !there[text] && !notSent[text] {
				lost++
				if !c.page { // Chromium may take what it does not send any more, for a moment.
					t.Errorf("%s has sent %q, which is not there", c.name, text)
				}
			}
		}
	}
	t.Logf("%d messages; over HTTP %d acknowledged, and other answers: %q; by clients %d, %d of them refused, %d lost",
		len(got), len(l.acked), l.again, said, refused, lost)
}
