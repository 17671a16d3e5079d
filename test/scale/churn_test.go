package scale

import (
	"testing"

	"github.com/crier-ws/crier/broadcast"
)

const (
	stormTotal = 20_000
	healthy    = 50
	healthSize = 100 // Bytes of their messages.
)

// TestStormOfConnectsAndResets checks that healthy clients receive every message while twenty thousand clients connect
// and leave in all possible ways.
func TestStormOfConnectsAndResets(t *testing.T) {
	needFDs(t, stormWorkers+healthy)
	srv := startServer(t, childConfig{})
	idle := srv.ask("trim")
	tape := newTape()
	sw := newSwarm(t, srv.port)
	sw.receivers(healthy, 0, tape)

	count := 0
	publish := func() {
		if tape.ledger.due[0] == count {
			sw.send(sw.clients[0], 0, count, healthSize)
			count++
		}
	}
	st := startStorm(srv.port, stormTotal)
	sw.until("the storm to be over", func() bool {
		publish()
		return st.over()
	})
	if err := st.wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d connections in %v; messages: %d of the healthy, %d of the storm", stormTotal, st.took, count, len(tape.ledger.storm))

	a := sw.settle("the storm's connections to be gone", srv, func(a answer) bool {
		return a.Stats.Open == healthy && a.Stats.Handshakes == 0 &&
			a.Goroutines == idle.Goroutines && srv.fds() == srv.fdsIdle+healthy
	})
	checkAccounts(t, a.Stats)
	sw.until("the message before the last", func() bool { return tape.ledger.due[0] == count })
	publish()
	sw.until("everyone to get everything", func() bool {
		return tape.ledger.due[0] == count && sw.bytes == healthy*len(tape.recorded)
	})
	if err := tape.ledger.want(1, count); err != nil {
		t.Error(err)
	}
	if int(srv.ask("stats").Stats.Messages) != tape.ledger.total {
		t.Errorf("the server counts %d messages, clients got %d", srv.ask("stats").Stats.Messages, tape.ledger.total)
	}
	end := srv.ask("stats")
	t.Logf("heap: %s before, %s after, published %s", mib(int(idle.Heap)), mib(int(end.Heap)), mib(len(tape.recorded)))
	if end.Heap > idle.Heap+uint64(2*len(tape.recorded))+1<<20 {
		t.Errorf("heap grew from %d to %d bytes", idle.Heap, end.Heap)
	}
	sw.end()
	srv.quit()
}

// checkAccounts checks that the counters have exactly one end for each connection.
func checkAccounts(t *testing.T, s broadcast.Stats) {
	t.Helper()
	t.Logf("accounts: %+v", s)
	ended := uint64(s.Open)
	for _, n := range s.Disconnects {
		ended += n
	}
	if s.Upgraded != ended {
		t.Errorf("upgraded %d, but open or ended %d", s.Upgraded, ended)
	}
	known := s.Upgraded + s.HandshakeAbandoned + s.HandshakeTimeouts + s.TLS
	for _, n := range s.Refused {
		known += n
	}
	if s.Accepted != known {
		t.Errorf("accepted %d, but upgraded, abandoned, late or refused %d", s.Accepted, known)
	}
	if len(s.Refused) > 0 || s.Shed > 0 || s.TLS > 0 {
		t.Errorf("refused %v, shed %d, TLS %d, want none", s.Refused, s.Shed, s.TLS)
	}
	for reason := range s.Disconnects {
		if reason != "peer-gone" && reason != "reset" {
			t.Errorf("connections ended with reason %q, want peer-gone and reset only", reason)
		}
	}
}
