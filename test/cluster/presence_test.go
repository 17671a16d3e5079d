package cluster

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gobwas/ws"
)

// crowd is connections that stay open until end is called.
type crowd []net.Conn

// gather opens n connections to a channel of a node.
func gather(t *testing.T, n *node, channel string, conns int) (c crowd) {
	t.Helper()
	defer func() { t.Cleanup(c.end) }()
	for range conns {
		conn, _, _, err := ws.Dial(t.Context(), "ws://"+n.addr+"/"+channel)
		if err != nil {
			t.Errorf("connecting to %s of %s: %v", channel, n.name, err)
			return c
		}
		c = append(c, conn)
	}
	return c
}

func (c crowd) end() {
	for _, conn := range c {
		conn.Close()
	}
}

// get returns the answer of the admin listener.
func (n *node) get(path string) ([]byte, error) {
	resp, err := http.Get("http://" + n.admin + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%d: %s", resp.StatusCode, body)
	}
	return body, err
}

// channels returns the connections of channels in the whole cluster that a node knows of, page by page.
func (n *node) channels() (map[string]int, error) {
	of := make(map[string]int)
	for path := "/v1/channels?limit=700"; ; {
		body, err := n.get(path)
		if err != nil {
			return nil, err
		}
		var list struct {
			Channels []struct {
				Channel            string
				ClusterConnections int `json:"cluster_connections"`
			}
			After *string
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, err
		}
		for _, c := range list.Channels {
			if c.ClusterConnections > 0 { // Channels with messages only have none.
				of[c.Channel] = c.ClusterConnections
			}
		}
		if list.After == nil {
			return of, nil
		}
		path = "/v1/channels?limit=700&after=" + url.QueryEscape(*list.After)
	}
}

// awaitPresence waits until nodes know how many of them there are, and how many connections the channels of the
// cluster have.
func awaitPresence(t *testing.T, what string, servers int, want map[string]int, nodes ...*node) {
	t.Helper()
	all := 0
	for _, conns := range want {
		all += conns
	}
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("node %d to know all connections: %s", i, what), func() error {
			for name, want := range map[string]int{"crier_cluster_nodes": servers, "crier_cluster_connections": all, "crier_cluster_connections_unlisted": 0} {
				if got := n.metric(t, name); got != float64(want) {
					return fmt.Errorf("%s is %v, want %d", name, got, want)
				}
			}
			got, err := n.channels()
			if err == nil && !maps.Equal(got, want) {
				err = fmt.Errorf("got %d channels, want %d: %.500v, want %.500v", len(got), len(want), got, want)
			}
			return err
		})
	}
}

// TestPresence checks that each node knows how many connections channels have at all nodes, whatever happens to the
// others.
func TestPresence(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 1)
	c := newCutter(t, nats.addrs[0])
	start := func(urls ...string) *node {
		return startNode(t, urls, "--cluster-replicas", "1", "--cluster-timeout", "500ms")
	}
	a, b, far := start(nats.urls()...), start(nats.urls()...), start("nats://"+c.ln.Addr().String())
	gather(t, a, "news", 2)
	gather(t, b, "news", 3)
	gather(t, b, "sport/football", 1)
	gather(t, far, "news", 1)
	away := gather(t, far, "a%20b%22", 4)
	all := map[string]int{"news": 6, "sport/football": 1, "a b\"": 4}
	awaitPresence(t, "all", 3, all, a, b, far)
	if body, err := a.get("/v1/channels/sport/football"); err != nil || !strings.Contains(string(body), `"connections":0,`) || !strings.Contains(string(body), `"cluster_connections":1`) {
		t.Errorf("channel of another node: got %s, %v", body, err)
	}
	if body, err := a.get("/metrics?channels=5"); err != nil || !strings.Contains(string(body), `crier_channel_cluster_connections{channel="news"} 6`) {
		t.Errorf("%v: got %s", err, body)
	}

	late := start(nats.urls()...)
	awaitPresence(t, "one more", 4, all, a, b, far, late)
	late.signal(syscall.SIGTERM)
	awaitPresence(t, "that one less", 3, all, a, b, far)

	c.set(true)
	awaitPresence(t, "one without NATS", 2, map[string]int{"news": 5, "sport/football": 1}, a, b)
	awaitPresence(t, "without NATS", 1, map[string]int{"news": 1, "a b\"": 4}, far)
	away[0].Close()
	gather(t, a, "sport/football", 2)
	all = map[string]int{"news": 6, "sport/football": 3, "a b\"": 3}
	c.set(false)
	c.cut()
	awaitPresence(t, "it is back", 3, all, a, b, far)

	_ = b.cmd.Process.Signal(syscall.SIGSTOP)
	awaitPresence(t, "one node stopped", 2, map[string]int{"news": 3, "sport/football": 2, "a b\"": 3}, a, far)
	_ = b.cmd.Process.Signal(syscall.SIGCONT)
	awaitPresence(t, "it goes on", 3, all, a, b, far)

	nats.servers[0].signal(syscall.SIGKILL)
	awaitPresence(t, "no NATS", 1, map[string]int{"news": 2, "sport/football": 2}, a)
	nats.servers[0].start()
	awaitPresence(t, "NATS is back", 3, all, a, b, far)

	b.signal(syscall.SIGKILL)
	awaitPresence(t, "one was killed", 2, map[string]int{"news": 3, "sport/football": 2, "a b\"": 3}, a, far)
	b.restart()
	gather(t, b, "news", 1)
	awaitPresence(t, "it was started again", 3, map[string]int{"news": 4, "sport/football": 2, "a b\"": 3}, a, b, far)
}

// TestPresenceMany checks that a late node learns of many channels, and of their changes.
func TestPresenceMany(t *testing.T) {
	const channels = 3000
	nats := startNATS(t, 1)
	a, b := startNode(t, nats.urls(), "--cluster-replicas", "1"), startNode(t, nats.urls(), "--cluster-replicas", "1")
	all := make(map[string]int)
	names := make(chan string, channels)
	for i := range channels {
		name := fmt.Sprintf("a/room/with/a/name/that/takes/its/time/%08d", i)
		all[name] = 2
		names <- name
	}
	close(names)
	var gathering sync.WaitGroup
	for range 50 { // The first client of a channel waits for its history.
		gathering.Go(func() {
			for name := range names {
				gather(t, a, name, 1)
				if c := gather(t, b, name, 1); strings.HasSuffix(name, "7") {
					c.end()
				}
			}
		})
	}
	gathering.Wait()
	for name := range all {
		if strings.HasSuffix(name, "7") {
			all[name]--
		}
	}
	awaitPresence(t, "many channels", 2, all, a, b)
	late := startNode(t, nats.urls(), "--cluster-replicas", "1")
	awaitPresence(t, "many channels", 3, all, late)
}

// TestPresenceSmall checks that nodes know each other's channels if NATS accepts only small messages.
func TestPresenceSmall(t *testing.T) {
	nats := startNATS(t, 1, noJetStream, "max_payload: 4096")
	a, b := startFast(t, nats.urls()), startFast(t, nats.urls())
	all := make(map[string]int)
	for i := range 300 {
		name := fmt.Sprintf("a/room/with/a/name/that/takes/its/time/%08d", i)
		all[name] = 1
		gather(t, a, name, 1)
	}
	awaitPresence(t, "small messages", 2, all, a, b)
	awaitPresence(t, "small messages", 3, all, startFast(t, nats.urls()))
}

// TestPresenceStrangers checks that messages of other programs below the subject do no harm, and are logged.
func TestPresenceStrangers(t *testing.T) {
	nats := startNATS(t, 1)
	a, b := startNode(t, nats.urls(), "--cluster-replicas", "1"), startNode(t, nats.urls(), "--cluster-replicas", "1")
	gather(t, a, "news", 1)
	awaitPresence(t, "both", 2, map[string]int{"news": 1}, a, b)
	nc := nats.jetStream(t).Conn()
	for _, message := range []string{"", "x", strings.Repeat("\x01b", 500_000), "\x02b0123456789012345678901"} {
		for range 1000 / (1 + len(message)/1000) {
			if err := nc.Publish("CRIER.presence.all", []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	gather(t, b, "sport", 1)
	awaitPresence(t, "both", 2, map[string]int{"news": 1, "sport": 1}, a, b)
	lines := 0
	for s := bufio.NewScanner(strings.NewReader(a.log())); s.Scan(); {
		if strings.Contains(s.Text(), "ignored a message of another server") {
			lines++
		}
	}
	if lines == 0 || lines > 60 {
		t.Errorf("got %d lines in the log", lines)
	}
}

// TestPresencePermissions checks that nodes with the documented permissions know of each other, and that a node
// without those for presence works otherwise.
func TestPresencePermissions(t *testing.T) {
	t.Parallel()
	all := permissions(t, "ordered")
	less := strings.ReplaceAll(all, `, "CRIER.presence.*"`, "")
	if strings.Contains(less, "presence") {
		t.Fatalf("got %s", less)
	}
	servers := startNATS(t, 1, fmt.Sprintf("authorization { users: [ { user: all, password: x, %s }, { user: less, password: x, %s } ] }", all, less))
	var nodes []*node
	for _, user := range []string{"all", "all", "less"} {
		nodes = append(nodes, startNode(t, []string{"nats://" + user + ":x@" + servers.addrs[0]}, "--cluster-replicas", "1"))
	}
	for i, n := range nodes {
		gather(t, n, fmt.Sprint(i), 1)
	}
	awaitPresence(t, "those that may", 2, map[string]int{"0": 1, "1": 1}, nodes[:2]...)
	awaitPresence(t, "the one that may not", 1, map[string]int{"2": 1}, nodes[2])
	checkWorks(t, nodes[2])
	if !strings.Contains(nodes[2].log(), "CRIER.presence.all") {
		t.Errorf("the log does not report the missing permission: %s", nodes[2].log())
	}
}
