package cluster

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestStartFull checks that a node starts although the full stream is smaller than the wanted history and drops a
// message for each new one, and that resuming clients are told of the gap.
func TestStartFull(t *testing.T) {
	servers := startNATS(t, 1)
	stream, err := servers.jetStream(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: "CRIER", Subjects: []string{"CRIER.*"}, MaxBytes: 5 << 20})
	if err != nil {
		t.Fatal(err)
	}
	nc := direct(t, servers)
	for range 40_000 {
		_ = nc.Publish("CRIER.=", []byte(strings.Repeat("x", 100)))
	}
	_ = nc.Flush()
	for range 5 {
		steadily(t, nc, "CRIER.=", 100, time.Millisecond)
	}
	for range 5 {
		n := &node{addr: freeAddr(t), admin: freeAddr(t)}
		n.process = &process{t: t, name: "crier " + n.addr, args: []string{crierBin, "--listen", n.addr, "--admin", n.admin,
			"--drain", "200ms", "--cluster", servers.urls()[0]}}
		n.start()
		t.Cleanup(func() { n.signal(syscall.SIGKILL) })
		eventually(t, "the node to be ready", func() error {
			select {
			case <-n.ended:
				t.Fatal("the node ended:", tail(n.log()))
			default:
			}
			return n.ready()
		})
		l := listen(t, "?since="+strconv.FormatInt(stream.CachedInfo().Created.UnixNano(), 36)+"-1000", n)
		eventually(t, "messages", func() error {
			if got, _ := l.received(); len(got) < 10_000 {
				return errNotYet
			}
			return nil
		})
		l.end()
		n.signal(syscall.SIGKILL)
		got, gaps := l.received()
		if len(gaps) != 1 {
			t.Errorf("got gaps %q, want one", gaps)
		}
		before := 0
		for i, m := range got {
			id, _, _ := strings.Cut(m, " ")
			_, digits, _ := strings.Cut(id, "-")
			is, _ := strconv.Atoi(digits)
			if i > 0 && is != before+1 && is != before+2 { // There may be a marker in between.
				t.Fatalf("got %[2]d after %[1]d, want consecutive numbers", before, is)
			}
			before = is
		}
	}
}
