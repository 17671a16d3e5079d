package cluster

import (
	"strings"
	"syscall"
	"testing"
)

// TestClosed: a NATS that takes smaller messages from one moment to the next ends the connection of who does not know, and its client
// does not come back after that: the node ends, and started again it serves.
func TestClosed(t *testing.T) {
	servers := startNATS(t, 1, "max_payload: 1000000")
	n := startPlain(t, servers.urls())
	l := listen(t, "news", n)
	defer l.end()
	present(t, l)
	servers.reload(t, "max_payload: 1000000", "max_payload: 10000")
	if _, err := n.publish("news", "", strings.Repeat("x", 100000)); err == nil {
		t.Fatal("NATS takes what is too large")
	}
	eventually(t, "the node to end", func() error {
		select {
		case <-n.ended:
			return nil
		default:
			return errNotYet
		}
	})
	if code, log := n.cmd.ProcessState.ExitCode(), n.log(); code != 1 || !strings.Contains(strings.ToLower(log), "maximum payload") {
		t.Errorf("it ended with %d, and says %s", code, tail(log))
	}
	n.restart()
	if _, err := n.publish("news", "", "small"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "small", l)
}

// TestSmaller: a message that NATS has not answered to, and does not take any more as it comes back, is lost and does not keep those
// behind it.
func TestSmaller(t *testing.T) {
	servers := startNATS(t, 1, "max_payload: 1000000")
	n := startPlain(t, servers.urls())
	l := listen(t, "news", n)
	defer l.end()
	present(t, l)
	s := &speaker{n: n}
	servers.servers[0].signal(syscall.SIGSTOP)
	for _, text := range []string{"first", strings.Repeat("x", 100000), "last"} {
		if err := s.say("news", text); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all to be taken", func() error { // What it publishes itself is behind them.
		if !strings.Contains(n.log(), "the stream did not take a message") {
			return errNotYet
		}
		return nil
	})
	servers.servers[0].signal(syscall.SIGKILL)
	servers.rewrite(t, "max_payload: 1000000", "max_payload: 10000")
	servers.servers[0].start()
	awaitText(t, "last", l)
	if got := texts(l); len(got) != 2 || !strings.Contains(n.log(), "a message is lost") {
		t.Errorf("got %.100q", got)
	}
}
