package hostile

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/crier-ws/crier/internal/swarm"
)

func TestMain(m *testing.M) {
	criertest.AllowParallel(8) // Hostile clients mostly wait: all kinds together use a fifth of a processor.
	os.Exit(leaktest.Main(m))
}

// The clients of a test, and the messages of the healthy ones.
const (
	healthy  = 10
	hostiles = 6
	rate     = 200
	size     = 8 << 10
	messages = 5 * rate / 2     // The least number of messages.
	most     = 60 * rate        // The most, on a slow machine.
	patience = 20 * time.Second // How long a hostile client waits before it leaves.
)

// counted returns the counter of the server that a kind must increase, by the name of the kind.
var counted = map[string]func(st *broadcast.Stats) uint64{
	"half a handshake":                  func(st *broadcast.Stats) uint64 { return st.HandshakeTimeouts },
	"a handshake byte by byte":          func(st *broadcast.Stats) uint64 { return st.HandshakeTimeouts },
	"a body byte by byte":               func(st *broadcast.Stats) uint64 { return st.Refused[400] },
	"a head without end":                func(st *broadcast.Stats) uint64 { return st.Refused[431] },
	"no HTTP":                           func(st *broadcast.Stats) uint64 { return st.Refused[400] },
	"goes in the middle of a frame":     func(st *broadcast.Stats) uint64 { return st.Disconnects["peer-gone"] },
	"a violation":                       func(st *broadcast.Stats) uint64 { return st.Disconnects["protocol-error"] },
	"text that is no UTF-8":             func(st *broadcast.Stats) uint64 { return st.Disconnects["invalid-payload"] },
	"a message too large":               func(st *broadcast.Stats) uint64 { return st.Disconnects["too-large"] },
	"a bomb":                            func(st *broadcast.Stats) uint64 { return st.Disconnects["too-large"] },
	"what does not inflate":             func(st *broadcast.Stats) uint64 { return st.Disconnects["invalid-payload"] },
	"fragments of one byte without end": func(st *broadcast.Stats) uint64 { return st.Disconnects["too-large"] },
	"close frames without end":          func(st *broadcast.Stats) uint64 { return st.Disconnects["peer-closed"] },
	"a message never finished":          func(st *broadcast.Stats) uint64 { return st.Disconnects["ping-timeout"] },
	"never reads":                       func(st *broadcast.Stats) uint64 { return st.Disconnects["slow"] },
	"reads a byte at a time":            func(st *broadcast.Stats) uint64 { return st.Disconnects["slow"] },

	Publisher.Name: func(st *broadcast.Stats) uint64 { return st.Disconnects["rate"] },
	Flood.Name:     func(st *broadcast.Stats) uint64 { return st.ShedPerIP },
	OtherSite.Name: func(st *broadcast.Stats) uint64 { return st.Refused[403] },
}

// TestKinds checks that healthy clients receive every message beside a crowd of each kind, and that the server ends and
// counts the hostile clients as it should.
func TestKinds(t *testing.T) {
	for _, k := range Kinds {
		t.Run(k.Name, func(t *testing.T) { t.Parallel(); beside(t, k, broadcast.Config{}) })
	}
	t.Run("rate", func(t *testing.T) {
		t.Parallel()
		beside(t, Publisher, broadcast.Config{Rate: 60, RateBytes: 8 << 20, OverRate: broadcast.RateClose})
	})
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		k := Publisher
		k.Ends = []End{Left, Cut} // Cut where it does not read as fast as all of them publish.
		st := beside(t, k, broadcast.Config{Rate: 60, RateBytes: 8 << 20})
		if st.RateHolds == 0 {
			t.Error("no publisher was held")
		}
	})
	t.Run("addresses", func(t *testing.T) {
		t.Parallel()
		beside(t, Flood, broadcast.Config{MaxConnsPerIP: healthy + 2})
	})
	t.Run("origins", func(t *testing.T) {
		t.Parallel()
		beside(t, OtherSite, broadcast.Config{Origins: []string{"https://good.example"}})
	})
}

// beside runs a crowd of one kind beside healthy clients of a server, and returns the counters at the end.
func beside(t *testing.T, k Kind, cfg broadcast.Config) broadcast.Stats {
	cfg.Compress = true
	cfg.MaxMessageBytes = 64 << 10
	cfg.RetainBytes = 2 << 20              // Clients that never read are lapped. Slow ones are not.
	cfg.HandshakeTimeout = 5 * time.Second // Longer than a handshake takes on a slow machine.
	cfg.CloseTimeout = 500 * time.Millisecond
	cfg.PingInterval, cfg.PingTimeout = time.Second, 10*time.Second // Longer than lapping takes on a slow machine.
	srv, addr := serve(t, "127.0.0.1:0", cfg)
	s := gather(t, addr)
	crowd := Start(addr, []Kind{k}, hostiles, patience, 1)
	// seen reports whether the server has ended one client in an expected way, and counted it.
	seen := func() bool {
		st := srv.Stats()
		count := counted[k.Name]
		return k.Ends[0] == Left || count != nil && count(&st) > 0 ||
			slices.ContainsFunc(k.Ends, func(e End) bool { return crowd.Count(0, e) > 0 })
	}
	for s.sent < messages || s.sent < most && !seen() {
		s.send(rate / 2)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- crowd.Stop() }() // Ends within seconds; awaited below.
	for done := false; !done; {
		select {
		case wrong := <-stopped:
			if done = true; wrong != nil {
				t.Error(wrong)
			}
		default: // Healthy clients continue to read meanwhile.
			if err := s.Rest(10 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("\n%s", crowd)
	s.foreign = k.Publishes
	s.check()
	if !slices.ContainsFunc(k.Ends, func(e End) bool { return crowd.Count(0, e) > 0 }) {
		t.Errorf("no hostile client ended as expected: want one of %q", k.Ends)
	}
	st := s.alone(srv)
	if count := counted[k.Name]; count != nil && k.Ends[0] != Left && count(&st) == 0 {
		t.Errorf("not counted: %+v", st)
	}
	return st
}

// people are the healthy clients of a test.
type people struct {
	*swarm.Swarm
	t       *testing.T
	sent    int  // The messages that they have sent.
	foreign bool // Hostile clients publish as well.
}

// send has the healthy clients send n messages.
func (p *people) send(n int) {
	p.t.Helper()
	p.sent += n
	if err := p.Send(swarm.Load{Messages: n, Rate: rate}); err != nil {
		p.t.Fatal(err)
	}
}

// gather connects the healthy clients. They are closed at the end of the test.
func gather(t *testing.T, addr netip.AddrPort) *people {
	t.Helper()
	s, err := swarm.New(swarm.Config{
		Target: addr, Greeting: broadcast.DefaultGreeting, Conns: healthy, Senders: healthy, Size: size,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Grow(healthy); err != nil {
		t.Fatal(err)
	}
	return &people{Swarm: s, t: t}
}

// check checks that each healthy client received all messages.
func (p *people) check() {
	p.t.Helper()
	if err := p.Settle(30 * time.Second); err != nil {
		p.t.Error(err)
	}
	got, err := p.Stats()
	if err != nil {
		p.t.Fatal(err)
	}
	if got.Delivered != p.sent*healthy || got.Dropped > 0 || !p.foreign && got.Faults() > 0 {
		p.t.Errorf("healthy clients: got %+v, want %d deliveries: %s", got.Counts, p.sent*healthy, got.Error)
	}
}

// alone waits until only the healthy clients are connected, and returns the counters.
func (p *people) alone(srv *broadcast.Server) broadcast.Stats {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		if st := srv.Stats(); st.Open == healthy && st.Handshakes == 0 {
			return st
		} else if time.Now().After(end) {
			p.t.Fatalf("hostile clients are still connected: %+v", st)
		}
		if err := p.Rest(10 * time.Millisecond); err != nil {
			p.t.Fatal(err)
		}
	}
}

// serve starts a server that is shut down at the end of the test.
func serve(t *testing.T, listen string, cfg broadcast.Config) (*broadcast.Server, netip.AddrPort) {
	t.Helper()
	cfg.Greeting = broadcast.DefaultGreeting
	return servertest.Start(t, listen, cfg)
}
