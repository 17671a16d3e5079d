package model

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"testing"
	"time"
)

func storm(nodes int, c Client) Storm {
	s := stormSite(nodes)
	s.Conns = 20_000
	return Storm{Site: s, Client: c, Detect: 2 * time.Second, Backlog: 4096, Seed: 1}
}

// TestEverybodyIsBack: and once each.
func TestEverybodyIsBack(t *testing.T) {
	c := Measured()
	for _, client := range []Client{BackOff, Naive} {
		for _, nodes := range []int{2, 3, 10, 1000} {
			s := storm(nodes, client)
			s.TLS = true
			o := c.Run(s)
			if o.Clients != 20_000 || o.Tries != o.Clients+o.Refused+o.TimedOut {
				t.Errorf("%s, %d nodes: of 20000 clients %d are back; %d tries, of which %d were refused and %d too late", client.Name, nodes, o.Clients, o.Tries, o.Refused, o.TimedOut)
			}
			if o.Half > o.P99 || o.P99 > o.All || o.Peak > 1 || o.Peak <= 0 {
				t.Errorf("%s, %d nodes: got %+v", client.Name, nodes, o)
			}
			if again := c.Run(s); again != o {
				t.Errorf("%s, %d nodes: got %+v, and then %+v", client.Name, nodes, o, again)
			}
		}
	}
}

// TestWork: with nothing else to do, one core takes as long as the work is, and no node has less than its part.
func TestWork(t *testing.T) {
	c := plain()
	s := storm(2, Naive)
	s.Site.Rate, s.Site.Node.Cores, s.Detect, s.Backlog = 0, 1, 0, 1e6
	o := c.Run(s)
	work := 20_000 * 15 * time.Microsecond // Accepting is done beside.
	if o.All < work || o.All > work+200*time.Millisecond {
		t.Errorf("20000 handshakes of 15 us on one core took %v", o.All)
	}
	if o.Tries != 20_000 || o.Dropped+o.Refused+o.TimedOut > 0 {
		t.Errorf("got %+v", o)
	}
}

// TestBacklog: what a full one drops comes a second later.
func TestBacklog(t *testing.T) {
	c := plain()
	c.Accept = 100 // 100 ms of packets are 500 of 20000.
	s := storm(2, Naive)
	s.Site.Rate, s.Detect, s.Backlog = 0, 0, 128
	o := c.Run(s)
	if o.Dropped == 0 || o.Backlog != 128 || o.All < time.Second {
		t.Errorf("got %+v", o)
	}
}

// TestTooLate: a node that is too slow by far is tried again, by the clients' own rules.
func TestTooLate(t *testing.T) {
	c := plain()
	c.TLS = 20_000 // 400 s of work for one core.
	s := storm(2, BackOff)
	s.TLS, s.Site.Node.Cores, s.Site.Conns, s.Detect = true, 1, 2000, 0
	o := c.Run(s)
	if o.TimedOut == 0 || o.Clients != 2000 || o.All < 40*time.Second {
		t.Errorf("got %+v", o)
	}
}

// TestLonger: who fails again and again waits longer each time. A hundredth of all has come to the node that is gone
// six times and more, and waits for half of 32 s then; with the same pause each time it would be back in 3 s.
func TestLonger(t *testing.T) {
	c := plain()
	s := storm(2, BackOff)
	s.Detect, s.Site.Conns = time.Minute, 2000
	if o := c.Run(s); o.Clients != 2000 || o.P99 < 15*time.Second {
		t.Errorf("got %+v", o)
	}
}

// TestNever: nobody comes back to nodes without room.
func TestNever(t *testing.T) {
	c := plain()
	s := storm(2, BackOff)
	s.Backlog, s.Site.Conns, s.Detect = 0, 10, 0
	if o := c.Run(s); o.Clients != 0 || o.TimedOut == 0 {
		t.Errorf("got %+v", o)
	}
}

// TestMissed: what clients missed is what was published while they were away.
func TestMissed(t *testing.T) {
	c := plain()
	s := storm(10, BackOff)
	s.Site.Rate = 100
	o := c.Run(s)
	each := o.Missed / float64(o.Clients) / (s.Site.Size + frameBytes) / 100 // Seconds.
	if each < 0.25 || each > 1 {
		t.Errorf("a client was away for %v s, by what it missed", each)
	}
	s.Client = Naive
	if o := c.Run(s); o.Missed != 0 {
		t.Errorf("%v B were sent again to those who do not ask for it", o.Missed)
	}
}

// TestDrain: it spreads what a crash does at once.
func TestDrain(t *testing.T) {
	c := Measured()
	s := storm(3, Naive)
	s.TLS = true
	crash := c.Run(s)
	s.Drain = 5 * time.Second
	drain := c.Run(s)
	if drain.Peak >= crash.Peak || drain.All >= crash.All || drain.Refused > 0 {
		t.Errorf("a crash: %+v, a drain: %+v", crash, drain)
	}
}

// TestAsTheyAre: the constants of crier.js and of crier are those of the files.
func TestAsTheyAre(t *testing.T) {
	text, err := os.ReadFile("../../../clients/js/crier.js")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`backoff: %d, maxBackoff: %d_000, timeout: %d_000,`, jsBackoff.Milliseconds(), int(jsMaxBackoff.Seconds()), int(jsTimeout.Seconds()))
	if !regexp.MustCompile(regexp.QuoteMeta(want)).Match(text) {
		t.Errorf("clients/js/crier.js has no %q", want)
	}
	if !regexp.MustCompile(regexp.QuoteMeta("after + Math.random() * Math.min(maxBackoff, backoff * 2 ** this.#tries)")).Match(text) {
		t.Error("clients/js/crier.js waits otherwise")
	}
	interest, err := os.ReadFile("../../../cluster/interest.go")
	if want := fmt.Sprintf("const maxRead = %d\n", Follows); err != nil || !regexp.MustCompile(regexp.QuoteMeta(want)).Match(interest) {
		t.Errorf("cluster/interest.go has no %q: %v", want, err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for n, most := range []time.Duration{jsBackoff, 2 * jsBackoff, 4 * jsBackoff} {
		longest := time.Duration(0)
		for range 100 {
			longest = max(longest, BackOff.Again(r, n))
		}
		if longest >= most || longest < most/2 {
			t.Errorf("after %d failures: waits %v at the most, want up to %v", n, longest, most)
		}
	}
	if wait := BackOff.Again(r, 1000); wait >= jsMaxBackoff {
		t.Errorf("after 1000 failures: waits %v", wait)
	}
}
