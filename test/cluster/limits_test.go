package cluster

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
)

// rewrite changes the configuration of a server of NATS.
func rewrite(t *testing.T, p *process, from, to string) {
	t.Helper()
	file := p.args[len(p.args)-1]
	config, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.ReplaceAll(config, []byte(from), []byte(to)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestClosed: NATS takes smaller messages all of a sudden, and closes the connection on a larger one, after which its client does not
// come back: the node ends and says so, and is whole when it is started again.
func TestClosed(t *testing.T) {
	servers := startNATS(t, 1, "max_payload: 1048576")
	n := startNode(t, servers.urls(), "--cluster-replicas", "1")
	l := listen(t, "news", n)
	defer l.end()
	present(t, l)
	rewrite(t, servers.servers[0], "1048576", "524288")
	servers.servers[0].signal(syscall.SIGHUP)
	eventually(t, "NATS to have read it", func() error {
		if !strings.Contains(servers.servers[0].log(), "Reloaded server configuration") {
			return errNotYet
		}
		return nil
	})
	_ = (&speaker{n: n}).say("news", strings.Repeat("x", 700<<10)) // Too large now.
	ends(t, n, "NATS has closed the connection for good")
	if _, err := n.publish("news", "", "after"); err != nil {
		t.Fatal(err)
	}
	same(t, "after", l)
}

// TestSmaller: a message is on its way while NATS is started again, and takes smaller ones now: it is lost, and those behind it are not.
func TestSmaller(t *testing.T) {
	servers := startNATS(t, 1, "max_payload: 1048576")
	c := newCutter(t, servers.addrs[0])
	n := startNode(t, []string{"nats://" + c.ln.Addr().String()}, "--cluster-replicas", "1")
	l := listen(t, "news", n)
	defer l.end()
	present(t, l)
	c.set(true)
	s := &speaker{n: n}
	for _, text := range []string{"before", strings.Repeat("x", 700<<10), "behind"} {
		if err := s.say("news", text); err != nil {
			t.Fatal(err)
		}
	}
	servers.servers[0].signal(syscall.SIGTERM)
	rewrite(t, servers.servers[0], "1048576", "524288")
	servers.servers[0].start()
	awaitListening(t, servers.addrs[0])
	c.set(false)
	c.cut()
	same(t, "behind", l)
	if got, _ := l.have(); len(got) != 2 {
		t.Errorf("got %d messages, want 2", len(got))
	}
	if lost := strings.Count(n.log(), "a message is lost"); lost != 1 {
		t.Errorf("the log says of %d that they are lost, want 1", lost)
	}
}
