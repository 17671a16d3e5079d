package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestStats checks the metrics of a node of the ordered mode before, during and after an outage of NATS.
func TestStats(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-timeout", "500ms")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	await := func(name, want string, ok func(float64) bool) {
		t.Helper()
		eventually(t, name+" to be "+want, func() error {
			if v := n.metric(t, "crier_cluster_"+name); !ok(v) {
				return fmt.Errorf("got %v", v)
			}
			return nil
		})
	}
	is := func(name string, want float64) {
		t.Helper()
		await(name, fmt.Sprint(want), func(v float64) bool { return v == want })
	}
	s := &socket{n: n}
	publish := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if err := s.send("news", text); err != nil {
				t.Fatal(err)
			}
		}
	}
	above0 := func(v float64) bool { return v > 0 }
	publish("one", "two")
	is("publish_seconds_count", 2)
	await("publish_seconds_sum", "above 0", above0)
	for name, want := range map[string]float64{
		"ready": 1, "waiting_messages": 0, "waiting_bytes": 0, "waiting_oldest_seconds": 0, "pending_messages": 0,
		"resent_total": 0, "lost_total": 0, "left_out_total": 0, "rereads_total": 0, "channels": 1,
	} {
		is(name, want)
	}
	at := n.metric(t, "crier_cluster_position")

	nats := servers.servers[0]
	nats.signal(syscall.SIGSTOP)
	eventually(t, "NATS to be stopped", func() error { // A thread may run for a moment longer, and answer.
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", nats.cmd.Process.Pid))
		if err != nil || len(tasks) == 0 {
			return fmt.Errorf("%d threads: %v", len(tasks), err)
		}
		for _, task := range tasks {
			if stat, err := os.ReadFile(task); err != nil || !strings.Contains(string(stat), ") T ") {
				return fmt.Errorf("%s: %s, %v", task, stat, err)
			}
		}
		return nil
	})
	publish("three")
	is("waiting_messages", 1)
	is("waiting_bytes", 5)
	await("waiting_oldest_seconds", "above 1", func(v float64) bool { return v > 1 })
	is("ready", 0)
	await("resent_total", "above 0", above0)
	nats.signal(syscall.SIGCONT)
	is("publish_seconds_count", 3)
	is("ready", 1)
	is("waiting_messages", 0)
	is("waiting_oldest_seconds", 0)
	await("publish_seconds_sum", "above 1", func(v float64) bool { return v > 1 })

	if err := direct(t, servers).Publish("CRIER.news", []byte{0xff}); err != nil { // Not UTF-8.
		t.Fatal(err)
	}
	is("left_out_total", 1)
	await("position", "further on", func(v float64) bool { return v >= at+2 })
	publish("four")
	awaitSame(t, "four", l)
}
