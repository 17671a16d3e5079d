package cluster

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// awaitSame waits until all listeners have a text and equally many messages, checks that all have the same messages
// without gaps, each once, and returns them. Messages of a connection that was held may come after the text.
func awaitSame(t *testing.T, last string, listeners ...*listener) []string {
	t.Helper()
	all := make([][]string, len(listeners))
	eventually(t, "all listeners to have "+last, func() error {
		for i, l := range listeners {
			all[i], _ = l.received()
			is := func(m string) bool { return strings.HasSuffix(m, " "+last) }
			if !slices.ContainsFunc(all[i], is) || len(all[i]) != len(all[0]) {
				return fmt.Errorf("listener %d has %d messages, another one %d: %w", i, len(all[i]), len(all[0]), errNotYet)
			}
		}
		return nil
	})
	first := all[0]
	for i, l := range listeners {
		if _, gaps := l.received(); len(gaps) > 0 {
			t.Errorf("listener %d: gaps %q", i, gaps)
		}
		if !slices.Equal(all[i], first) {
			t.Errorf("listener %d has other messages than listener 0: %d and %d", i, len(all[i]), len(first))
		}
	}
	seen := make(map[string]bool)
	for _, m := range first {
		_, text, _ := strings.Cut(m, " ")
		if seen[text] {
			t.Errorf("%q was delivered twice", text)
		}
		seen[text] = true
	}
	return first
}

// firstMessage connects as soon as it can, and returns the first message after the greeting. It closes greeted when
// the greeting has arrived.
func firstMessage(t *testing.T, n *node, greeted chan<- struct{}) string {
	for t.Context().Err() == nil {
		conn, br, _, err := ws.Dial(t.Context(), "ws://"+n.addr+"/news")
		if err != nil {
			continue
		}
		defer conn.Close()
		rw := reader(br, conn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = wsutil.ReadServerText(rw)
		close(greeted)
		if err != nil {
			return err.Error()
		}
		p, err := wsutil.ReadServerText(rw)
		if err != nil {
			return err.Error()
		}
		return string(p)
	}
	return ""
}

// TestOneStream checks that clients of three nodes receive the same messages, whichever node they were published at,
// that a node which was restarted has the history, and that a client resumes at any node.
func TestOneStream(t *testing.T) {
	nats := startNATS(t, 3)
	var nodes []*node
	for range 3 {
		nodes = append(nodes, startNode(t, nats.urls()))
	}
	var all []*listener
	for i, n := range nodes {
		all = append(all, listen(t, "news", n), listen(t, "news", nodes[i], nodes[(i+1)%3]))
	}
	defer func() {
		for _, l := range all {
			l.end()
		}
	}()
	awaitConnected(t, all...)
	var sockets []*socket
	for _, n := range nodes {
		sockets = append(sockets, &socket{n: n})
	}
	for i := range 300 {
		if err := sockets[i%3].send("news", fmt.Sprint("w", i)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if _, err := nodes[(i/10)%3].publish("news", "", fmt.Sprint("h", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all messages", func() error {
		if got, _ := all[0].received(); len(got) < 330 {
			return fmt.Errorf("got %d", len(got))
		}
		return nil
	})
	nodes[1].signal(syscall.SIGKILL)
	id, err := nodes[0].publish("news", "", "during its restart")
	if err != nil {
		t.Fatal(err)
	}
	first, greeted := make(chan string, 1), make(chan struct{})
	go func() { first <- firstMessage(t, nodes[1], greeted) }() // Ends with the test, or after its first message.
	nodes[1].restart()
	<-greeted
	again, err := nodes[1].publish("news", "", "the last one")
	if err != nil {
		t.Fatal(err)
	}
	if text := <-first; text != "the last one" {
		t.Errorf("a client that connected while the node started got %q first, want a new message", text)
	}
	got := awaitSame(t, "the last one", all...)
	if len(got) != 332 || !strings.HasPrefix(got[330], id+" ") || !strings.HasPrefix(got[331], again+" ") {
		t.Errorf("got %d messages, the last ones %q; want IDs %s, %s", len(got), got[len(got)-2:], id, again)
	}
	// The messages of each publisher are in its order.
	var at [3]int
	for _, m := range got {
		var i int
		_, text, _ := strings.Cut(m, " ")
		if n, _ := fmt.Sscanf(text, "w%d", &i); n == 1 {
			if i < at[i%3] {
				t.Errorf("%s arrived after %d", text, at[i%3])
			}
			at[i%3] = i
		}
	}
	// A node that was down when messages were published has them as history.
	late := listen(t, "news?last=332", nodes[1])
	defer late.end()
	eventually(t, "the history", func() error {
		if got, _ := late.received(); len(got) < 332 {
			return fmt.Errorf("%d messages", len(got))
		}
		return nil
	})
	if history, _ := late.received(); !slices.Equal(history, got) {
		t.Error("got another history than was published")
	}
}
