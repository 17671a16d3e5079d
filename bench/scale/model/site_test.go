package model

import (
	"errors"
	"math"
	"testing"
	"time"
)

// near reports whether two values are equal except for rounding.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

func TestLinear(t *testing.T) {
	if got := (Linear{2, 3}).At(512); got != 3.5 {
		t.Errorf("got %v, want 3.5", got)
	}
}

// plain are constants that can be reckoned with by hand.
func plain() Costs {
	s := Stream{Store: Linear{Base: 30}, Deliver: Linear{Base: 3}, BusyStore: Linear{Base: 15}, BusyDeliver: Linear{Base: 1}, Leader: 1. / 3,
		BusyTime: Linear{Base: 100}, Replicate: Linear{Base: 200}, Cross: Linear{Base: 300}}
	return Costs{R1: s, R3: s, Core: Linear{Base: 9}, AckBytes: 50, DeliverBytes: 150, CoreBytes: 20, NATSMemory: 900, Message: Linear{Base: 10},
		BusyMessage: Linear{Base: 5}, Publish: 20, Send: Linear{Base: 4}, Handshake: 20, Accept: 5, TLS: 200, ConnMemory: 100, KernelMemory: 900}
}

// TestUse: what comes out is what goes in, reckoned by hand.
func TestUse(t *testing.T) {
	s := Site{Nodes: 6, Conns: 1000, Rate: 100, Size: 100, Channels: 10, Interest: 0.5, Replicas: 3, NATS: server, Node: server}
	c := plain()
	u := c.Use(s)
	const deliveries = 100 * 6 * 0.5
	for _, tt := range []struct {
		what      string
		got, want float64
	}{
		{"NATSCores", u.NATSCores, (100*30./3 + deliveries*3/3) / 1e6},
		{"NATSBusy", u.NATSBusy, (100*15./3 + deliveries*1./3) / 1e6},
		{"NATSLink", u.NATSLink, 8 * wire * (100*(50+200) + deliveries*(100+150+300)/3)},
		{"NATSMemory", u.NATSMemory, 6 * 900 / 3},
		{"StreamBusy", u.StreamBusy, 100 * 100 / 1e6},
		{"NodeCores", u.NodeCores, (50*10 + 100./6*20 + 100*1000/10*4) / 1e6},
		{"NodeIn", u.NodeIn, 8 * wire * 50 * 250},
		{"NodeMemory", u.NodeMemory, 1e6},
		{"Pass", u.Pass, 1000. / 5 * 4 / 8 / 1e6},
	} {
		if !near(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

// TestConservation: what servers of NATS send for deliveries is what nodes get and what goes between servers; and
// clients get each message of their channel, however the site is cut up.
func TestConservation(t *testing.T) {
	c := Measured()
	c.AckBytes, c.R3.Replicate = 0, Linear{}
	s := rooms(100)
	u := c.Use(s)
	cross := 8 * wire * s.Rate * 100 * s.Share() * c.R3.Cross.At(s.Size)
	if sent, got := 3*u.NATSLink, 100*u.NodeIn+cross; !near(sent, got) {
		t.Errorf("NATS sends %v bit/s, nodes and other servers get %v", sent, got)
	}
	whole, part := c.Use(s), c.Use(s.Sharded(4))
	published := func(s Site) float64 { return s.Rate / float64(s.Nodes) * (s.Size + c.PublishBytes) * 8 * wire }
	if a, b := whole.NodeLink-published(s), part.NodeLink-published(s.Sharded(4)); !near(a, b) {
		t.Errorf("a node sends %v bit/s to its clients in one cluster, %v in one of four", a, b)
	}
}

// TestMonotony: more of anything does not take less.
func TestMonotony(t *testing.T) {
	c := Measured()
	for _, base := range []Site{one(10), rooms(100), rooms(1000)} {
		base.Presence, base.Changed, base.Interest = time.Second, 10, 0.5
		for what, more := range map[string]func(*Site){
			"nodes": func(s *Site) { s.Nodes *= 2 }, "rate": func(s *Site) { s.Rate *= 2 }, "size": func(s *Site) { s.Size *= 2 },
			"interest": func(s *Site) { s.Interest = 1 }, "joins": func(s *Site) { s.Joins = 100 }, "presence": func(s *Site) { s.Presence /= 2 }, "changed": func(s *Site) { s.Changed *= 2 },
		} {
			s := base
			more(&s)
			was, is := c.Use(base), c.Use(s)
			if is.NATSCores < was.NATSCores || is.NATSBusy < was.NATSBusy || is.NATSLink < was.NATSLink || is.NodeIn < was.NodeIn && what != "nodes" {
				t.Errorf("more %s: got %+v after %+v", what, is, was)
			}
			if what != "rate" && c.First(s).Rate > c.First(base).Rate*(1+1e-9) && what != "nodes" {
				t.Errorf("more %s: the first limit rises from %v to %v", what, c.First(base), c.First(s))
			}
		}
	}
}

// TestFirst: at the rate of the first limit just that is used up, and all else is not.
func TestFirst(t *testing.T) {
	c := Measured()
	for _, s := range []Site{one(10), one(1000), rooms(10), rooms(1000), rooms(1000).Placed(), rooms(1000).Sharded(20)} {
		l := c.First(s)
		s.Rate = l.Rate
		for what, used := range s.limits(c.Use(s)) {
			if used > 1+1e-9 || what == l.What && !near(used, 1) {
				t.Errorf("%d nodes at %v: of %s %v is used", s.Nodes, l, what, used)
			}
		}
		if l.Rate < c.Easy(s).Rate*(1-1e-9) && c.Easy(s).What != l.What {
			t.Errorf("%d nodes: %v is below %v, up to where all is under light load", s.Nodes, l, c.Easy(s))
		}
	}
	full := one(1000) // Presence alone is too much.
	full.Presence = time.Millisecond
	if l := c.First(full); l.Rate != 0 {
		t.Errorf("got %v, want none", l)
	}
}

// TestShare: by chance, receivers are on as many nodes as there are of either, at the most.
func TestShare(t *testing.T) {
	for _, n := range sizes {
		s := rooms(n)
		s.Follows = 0
		nodes := s.Share() * float64(n)
		if nodes > min(float64(n), 100) || nodes < 0.6*min(float64(n), 100) {
			t.Errorf("%d nodes: 100 receivers are on %v", n, nodes)
		}
		if got := s.Placed().Share(); !near(got, 1/float64(n)) {
			t.Errorf("%d nodes, placed: got %v", n, got)
		}
		if got := rooms(n).Share(); got != 1 {
			t.Errorf("%d nodes: one that listens to %v channels gets %v of all, want all", n, rooms(n).Channels*s.Share(), got)
		}
	}
}

// TestRemedies: each of them takes more messages than without.
func TestRemedies(t *testing.T) {
	c := Measured()
	all, some := rooms(1000), rooms(1000)
	some.Follows = 0
	without := c.First(all).Rate
	with := map[string]float64{
		"interest": c.First(some).Rate, "placed": c.First(rooms(1000).Placed()).Rate,
		"4 clusters": 4 * c.First(all.Sharded(4)).Rate, "20 clusters": 20 * c.First(all.Sharded(20)).Rate,
		"20 mirrors": c.Mirrored(all, 20).Limit.Rate,
	}
	for what, rate := range with {
		if rate <= without {
			t.Errorf("%s: got %v messages a second, want more than %v", what, rate, without)
		}
	}
	if with["20 clusters"] <= with["4 clusters"] {
		t.Errorf("more clusters take less: %v", with)
	}
}

// TestJoins: what channels that come and go cost, reckoned by hand; and nothing where nodes get all.
func TestJoins(t *testing.T) {
	c := plain()
	c.R3.Join, c.R3.JoinMost, c.R3.Leader = 1000, 5000, 0.5
	s := rooms(10).Placed()
	s.Rate, s.Joins = 0, 10
	s.Channels = 10 * Follows / 2
	u := c.Use(s)
	const markers = 10 * 3
	cpu := (0.5*10*(4*1000+2*4000*0.25) + markers*15*0.5 + markers*1./3) / 1e6
	if !near(u.NATSBusy, cpu) {
		t.Errorf("NATSBusy: got %v, want %v", u.NATSBusy, cpu)
	}
	if !near(u.NodeIn, 8*wire*markers/10*150) {
		t.Errorf("NodeIn: got %v", u.NodeIn)
	}
	s.Channels *= 3 // Each node has more than it gets one by one.
	none := s
	none.Joins = 0
	if got, want := c.Use(s), c.Use(none); got != want {
		t.Errorf("nodes that get all: got %+v, want %+v", got, want)
	}
	if l := c.FirstJoin(s); !math.IsInf(l.Rate, 1) {
		t.Errorf("nodes that get all: got the limit %v", l)
	}
}

func TestBeat(t *testing.T) {
	for nodes, want := range map[int]time.Duration{1: time.Second, 100: time.Second, 101: 2 * time.Second, 1000: 10 * time.Second} {
		if got := Beat(nodes); got != want {
			t.Errorf("%d nodes: got %v, want %v", nodes, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := one(10)
	for name, tt := range map[string]struct {
		change func(*Site)
		want   error
	}{
		"good": {func(*Site) {}, nil}, "two replicas": {func(s *Site) { s.Replicas = 2 }, ErrReplicas}, "no nodes": {func(s *Site) { s.Nodes = 0 }, ErrSite},
		"infinite": {func(s *Site) { s.Rate = math.Inf(1) }, ErrSite}, "NaN": {func(s *Site) { s.Size = math.NaN() }, ErrSite}, "interest": {func(s *Site) { s.Interest = 1.1 }, ErrSite},
	} {
		s := good
		tt.change(&s)
		if err := s.Check(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.001: "< 0.01", 0.126: "0.13", 1.26: "1.3", 12.6: "13", 1234: "1,230", 1234567: "1,230,000", -5: "-5", 3: "3", 3.01: "3.0", 9.99: "10.0"} {
		if got := figure(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}
