package scale

import (
	"testing"
	"time"
)

// TestFDLimit checks that a server without free file descriptors sheds new clients at once and then uses no CPU, and
// that it serves again after some clients have left.
func TestFDLimit(t *testing.T) {
	const (
		limit  = 256
		comes  = 600 // Clients that connect first,
		leaves = 50  // of which so many leave,
		again  = 40  // and clients that connect afterwards.
		size   = 100
	)
	needFDs(t, comes)
	srv := startServer(t, childConfig{FDLimit: limit})
	tape := newTape()
	sw := newSwarm(t, srv.port)
	sw.begin(comes, 0, func(c *client) {
		c.sink = &tapeReader{tape: tape}
		c.mayEnd = true
	})
	sw.until("all clients to be greeted or closed", func() bool { return sw.opened+sw.gone == comes })
	// A client may see the end of its connection before the server has counted it.
	sw.settle("the server to have counted each connection that it shed", srv, func(a answer) bool {
		return int(a.Stats.Shed) >= sw.gone
	})
	full := srv.ask("stats").Stats
	t.Logf("greeted %d, closed %d; server: open %d, shed %d, fds %d of %d", sw.opened, sw.gone, full.Open, full.Shed, srv.fds(), limit)
	if full.Open != sw.opened || int(full.Shed) != sw.gone {
		t.Errorf("server has %d open and shed %d, want %d and %d", full.Open, full.Shed, sw.opened, sw.gone)
	}
	if want := limit - srv.fdsIdle; sw.opened != want {
		t.Errorf("greeted %d clients, want %d: as many as there are fds", sw.opened, want)
	}

	cpu := srv.cpu()
	sw.pollFor(time.Second) // The CPU time is measured over a second.
	cpu = srv.cpu() - cpu
	t.Logf("CPU time in a second of being full: %v", cpu)
	if cpu > time.Second/2 {
		t.Errorf("the server used %v of CPU time in a second in which nothing happened", cpu)
	}
	if shed := srv.ask("stats").Stats.Shed; shed != full.Shed {
		t.Errorf("shed went from %d to %d when nobody came", full.Shed, shed)
	}

	sw.leave(leaves)
	open := full.Open - leaves
	sw.settle("those who left to be gone", srv, func(a answer) bool {
		return a.Stats.Open == open && srv.fds() == srv.fdsIdle+open
	})
	sw.receivers(again, 0, tape)
	before := sw.bytes
	var sender *client
	for _, c := range sw.clients {
		c.mayEnd = false
		if c.phase == phaseOpen {
			sender = c
		}
	}
	sw.send(sender, 0, 0, size)
	sw.until("everyone to get a message", func() bool { return sw.bytes-before == (open+again)*frameSize(size) })
	sw.end()
	sw.settle("everyone to be gone", srv, func(a answer) bool { return a.Stats.Open == 0 && srv.fds() == srv.fdsIdle })
	srv.quit()
}
