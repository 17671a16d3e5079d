package cluster

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// TestFastInterest checks that a node receives only channels that have connections, and for the linger time
// afterwards; a client that returns later is told of a gap.
func TestFastInterest(t *testing.T) {
	servers := startNATS(t, 1, noJetStream)
	one, two := startFast(t, servers.urls(), "--cluster-linger", "200ms"), startFast(t, servers.urls())
	const received = "crier_cluster_received_total"
	publish := func(channel, text string) {
		t.Helper()
		if _, err := two.publish(channel, "", text); err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t, "news", one)
	awaitConnected(t, l)
	for i := range 10 {
		publish("sport", fmt.Sprint("goal ", i))
		publish("news", fmt.Sprint("word ", i))
	}
	awaitText(t, "word 9", l)
	if got := one.metric(t, received); got != 10 {
		t.Errorf("got %v messages of the other node, want 10", got)
	}
	l.end()
	eventually(t, "the channel to be left", func() error {
		before := one.metric(t, received)
		publish("news", "anyone?")
		time.Sleep(50 * time.Millisecond)
		if one.metric(t, received) != before {
			return errNotYet
		}
		return nil
	})
	back := listen(t, "news?since="+l.last, one)
	defer back.end()
	awaitConnected(t, back)
	publish("news", "the end")
	awaitText(t, "the end", back)
	if _, gaps := back.received(); len(gaps) != 1 {
		t.Errorf("got gaps %q, want one", gaps)
	}
}

// TestFastMany checks that a node with more channels than it subscribes to one by one receives all, each message
// once.
func TestFastMany(t *testing.T) {
	servers := startNATS(t, 1, noJetStream)
	one, two := startFast(t, servers.urls()), startFast(t, servers.urls())
	l := listen(t, "news", one)
	defer l.end()
	awaitConnected(t, l)
	stop := make(chan struct{})
	go sendAll(two, "news", "w", stop)
	var conns []net.Conn
	for i := range 4200 {
		conn, _, _, err := ws.Dial(t.Context(), fmt.Sprintf("ws://%s/room/%d", one.addr, i))
		if err != nil {
			t.Fatal(i, err)
		}
		conns = append(conns, conn)
	}
	close(stop)
	if _, err := two.publish("news", "", "the end"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "the end", l)
	got := texts(l)
	for i, text := range got[:len(got)-1] {
		if text != fmt.Sprint("w.0 ", i) {
			t.Fatalf("message %d is %q", i, text)
		}
	}
	if len(got) < 10 {
		t.Errorf("got only %d messages: too few for the test", len(got))
	}
	far := listen(t, "room/17", two)
	defer far.end()
	awaitConnected(t, far)
	late := listen(t, "elsewhere", one) // The node receives all channels now.
	defer late.end()
	awaitConnected(t, late)
	if _, err := two.publish("elsewhere", "", "hello"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "hello", late)
	if log := one.log(); strings.Contains(log, "dropped") {
		t.Errorf("got dropped messages:\n%s", tail(log))
	}
	for _, conn := range conns {
		conn.Close()
	}
}
