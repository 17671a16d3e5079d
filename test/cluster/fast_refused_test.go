package cluster

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// rewrite replaces a part of the configuration files of the NATS servers.
func (c *natsCluster) rewrite(t *testing.T, part, other string) {
	t.Helper()
	for _, s := range c.servers {
		file := s.args[2]
		config, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(config), part) {
			t.Fatal(err, string(config))
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(config), part, other, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// reload replaces a part of the configuration while the first NATS server runs.
func (c *natsCluster) reload(t *testing.T, part, other string) {
	t.Helper()
	c.rewrite(t, part, other)
	const done = "Reloaded server configuration"
	p := c.servers[0]
	before := strings.Count(p.log(), done)
	p.signal(syscall.SIGHUP)
	eventually(t, "NATS to reload", func() error {
		if strings.Count(p.log(), done) == before {
			return errNotYet
		}
		return nil
	})
}

// awaitRefused waits until a node reports that NATS refuses a subscription.
func awaitRefused(t *testing.T, n *node) {
	t.Helper()
	eventually(t, "the node to be unready", func() error {
		if err := n.ready(); err == nil || !strings.Contains(err.Error(), "NATS refuses") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// TestFastMayNotSubscribe checks that a node which may not receive the messages of others reports that at the start,
// with and without channels.
func TestFastMayNotSubscribe(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, noJetStream, user("crier", `permissions { publish: [ "CRIER.fast.*", "CRIER.fast.presence.*" ], subscribe: [ "CRIER.fast.presence.*" ] }`))
	for _, more := range [][]string{nil, {"--channels"}} {
		refused(t, `Permissions Violation for Subscription to "CRIER.fast.*"`, servers.urlFor("crier")[0], append(more, "--cluster-mode", "fast")...)
	}
}

// TestFastRevoked checks that a node which may no longer subscribe is not ready, and receives messages of others when
// it may again.
func TestFastRevoked(t *testing.T) {
	t.Parallel()
	all := permissions(t, "fast")
	less := all[:strings.Index(all, "subscribe:")] + `subscribe: [ "CRIER.fast.presence.*" ] }`
	servers := startNATS(t, 1, noJetStream, user("crier", all))
	one, two := startFast(t, servers.urlFor("crier")), startFast(t, servers.urlFor("crier"))
	l := listen(t, "news", one)
	defer l.end()
	awaitConnected(t, l)
	if _, err := two.publish("news", "", "first"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "first", l)
	servers.reload(t, all, less)
	awaitRefused(t, one)
	servers.reload(t, less, all)
	eventually(t, "the node to be ready", one.ready)
	for _, text := range []string{"second", "third"} {
		if _, err := two.publish("news", "", text); err != nil {
			t.Fatal(err)
		}
	}
	awaitText(t, "third", l)
	if got := fmt.Sprint(texts(l)); got != "[first second third]" {
		t.Errorf("got %s", got)
	}
}

// TestRevoked checks that a node of the ordered mode which may not receive answers for a while continues when it may,
// and that no message is missing.
func TestRevoked(t *testing.T) {
	t.Parallel()
	all := permissions(t, "ordered")
	less := all[:strings.Index(all, "subscribe:")] + `subscribe: [ "CRIER.presence.*" ] }`
	servers := startNATS(t, 1, user("crier", all))
	one, two := startPlain(t, servers.urlFor("crier")), startPlain(t, servers.urlFor("crier"))
	l, other := listen(t, "news", one), listen(t, "news", two)
	defer l.end()
	defer other.end()
	awaitConnected(t, l, other)
	if _, err := two.publish("news", "", "first"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "first", l, other)
	servers.reload(t, all, less)
	for _, n := range []*node{one, two} {
		eventually(t, "the node to be unready", func() error {
			if n.ready() == nil {
				return errNotYet
			}
			return nil
		})
	}
	s := &socket{n: two}
	if err := s.send("news", "second"); err != nil {
		t.Fatal(err)
	}
	servers.reload(t, less, all)
	eventually(t, "the first node to be ready", one.ready)
	eventually(t, "the second node to be ready", two.ready)
	if _, err := two.publish("news", "", "third"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "third", l, other)
	if got := fmt.Sprint(texts(l)); got != "[first second third]" {
		t.Errorf("got %s", got)
	}
}

// TestFastSubscriptions checks that a node subscribes to all channels with one subscription if NATS accepts only few
// from each client, before and after a restart of NATS.
func TestFastSubscriptions(t *testing.T) {
	t.Parallel()
	const rooms = 20
	servers := startNATS(t, 1, noJetStream, fmt.Sprint("max_subscriptions: ", rooms/2))
	one, two := startFast(t, servers.urls()), startFast(t, servers.urls())
	var all []*listener
	for i := range rooms {
		l := listen(t, fmt.Sprint("room/", i), one)
		defer l.end()
		awaitConnected(t, l)
		all = append(all, l)
	}
	hear := func(text string) {
		t.Helper()
		eventually(t, "both nodes to be ready", func() error {
			if err := one.ready(); err != nil {
				return err
			}
			return two.ready()
		})
		for i := range all {
			eventually(t, fmt.Sprint("room ", i, " to receive it"), func() error { // Messages are lost until NATS has refused a subscription.
				if _, err := two.publish(fmt.Sprint("room/", i), "", text); err != nil {
					return err
				}
				if !strings.Contains(fmt.Sprint(texts(all[i])), text) {
					return errNotYet
				}
				return nil
			})
		}
	}
	hear("first")
	servers.servers[0].signal(syscall.SIGKILL)
	eventually(t, "both nodes to be unready", func() error {
		if one.ready() == nil || two.ready() == nil {
			return errNotYet
		}
		return nil
	})
	servers.servers[0].start()
	hear("second")
}
