package main

import (
	"slices"
	"strconv"
	"time"
)

// benchCase is one case: a mode of the measuring program with its flags.
type benchCase struct {
	name       string
	mode       string
	conns      int
	rate       int      // overload and stalled: messages a second
	flags      []string // without those above, and -rounds
	contenders []string // the first one that is there is what the others are compared with
	seconds    float64  // one measurement of one contender, on average
}

// Who takes part. The floor that coalesces stands for itself only where coalescing
// matters; in the mode stalled a floor has no use, see bench/README.md.
var (
	peers   = []string{"gorilla", "coder", "gws", "nbio", "melody", "gobwas", "node"}
	ofIdle  = join("crier", "floor", peers)
	ofFloor = join("floor", "crier", peers)
	ofBurst = join("floor-c", "crier", append([]string{"floor"}, peers...))
	ofRate  = join("floor-c", "crier", peers)
	ofStall = append([]string{"crier"}, peers...)
)

func join(first, second string, others []string) []string {
	return append([]string{first, second}, others...)
}

// load is what the closed loops run for. The measuring program sends 25 bursts at the
// least before, whatever -warmup says.
var load = []string{"-warmup", "500ms", "-duration", "1500ms"}

// rates are the messages a second of the overload cases. From the second on, most peers
// cannot deliver all.
var rates = []int{100, 300, 1000, 3000}

// cases returns all cases, in their order. The quick ones only show that all works.
func cases(quick bool) []*benchCase {
	all := []*benchCase{
		{name: "idle", mode: "idle", conns: 18000, flags: []string{"-settle", "1s"}, contenders: ofIdle, seconds: 5.5},
		{name: "handshake", mode: "handshake", conns: 10000, contenders: ofFloor, seconds: 2.5},
		fanout("fanout-1000", 1000, 3.3),
		fanout("fanout-5000", 5000, 5),
		fanout("fanout-18000", 18000, 11),
		fanout("size-1k", 1000, 3.3, "-size", "1024"),
		fanout("size-16k", 1000, 3.6, "-size", "16384"),
		fanout("senders-100", 1000, 3.6, "-senders", "100"),
		burst("burst-1", 1),
		burst("burst-100", 100),
		// What the peers cost is known by now: the rest is crier beside the floor.
		fanout("size-16k-senders-100", 1000, 4, "-size", "16384", "-senders", "100").only("floor", "crier"),
		fanout("size-1k-18000", 18000, 11, "-size", "1024", "-warmup", "0s").only("floor", "crier"),
		burst("burst-1k", 1, "-size", "1024").only("floor-c", "crier"),
		burst("burst-16k", 1, "-size", "16384").only("floor-c", "crier"),
	}
	for _, rate := range rates {
		all = append(all, overload(rate))
	}
	// 9.8 MB for each receiver: 2.7 are hidden in the kernel, and the peers' bounds are
	// 4 MiB or 256 messages, crier's 8 MiB. The rate is one that all can bear.
	all = append(all, &benchCase{
		name: "stalled", mode: "stalled", conns: 500, rate: 25, contenders: ofStall, seconds: 27,
		flags: []string{"-size", "16384", "-duration", "24s", "-grace", "5s", "-settle", "1s"},
	})
	if quick {
		for _, c := range all {
			c.hurry()
		}
	}
	return all
}

func fanout(name string, conns int, seconds float64, flags ...string) *benchCase {
	return &benchCase{
		name: name, mode: "fanout", conns: conns, contenders: ofFloor, seconds: seconds,
		flags: slices.Concat(load, flags),
	}
}

// burst: three bursts of 100 messages to 1,000 receivers, and some before as a warm-up,
// take a server that sends each message by itself ten seconds or more.
func burst(name string, senders int, flags ...string) *benchCase {
	return &benchCase{
		name: name, mode: "burst", conns: 1000, contenders: ofBurst, seconds: 8,
		flags: append([]string{"-burst", "100", "-senders", strconv.Itoa(senders), "-warmup", "0s", "-duration", "1500ms"}, flags...),
	}
}

// only leaves all contenders out but these.
func (c *benchCase) only(contenders ...string) *benchCase {
	c.contenders = contenders
	c.seconds = min(c.seconds, 11)
	return c
}

func overload(rate int) *benchCase {
	c := &benchCase{
		name: "overload-" + strconv.Itoa(rate), mode: "overload", conns: 1000, rate: rate,
		contenders: ofRate, seconds: 5, flags: []string{"-duration", "3s", "-grace", "3s"},
	}
	if rate >= 1000 {
		c.seconds = 7
	}
	return c
}

// hurry makes a try-out of the case. Of a flag that is there twice the last one counts.
func (c *benchCase) hurry() {
	c.conns = max(c.conns/20, 200)
	c.seconds = 1
	c.flags = append(c.flags, "-warmup", "0s", "-settle", "200ms", "-grace", "1s")
	switch c.mode {
	case "fanout", "burst", "overload":
		c.flags = append(c.flags, "-duration", "300ms")
	case "stalled":
		c.flags = append(c.flags, "-duration", "1s")
	}
}

func caseNames() []string {
	var names []string
	for _, c := range cases(false) {
		names = append(names, c.name)
	}
	return names
}

// arguments returns the measuring program's, without -rounds and contenders.
func (c *benchCase) arguments() []string {
	args := []string{c.mode, "-conns", strconv.Itoa(c.conns)}
	if c.rate > 0 {
		args = append(args, "-rate", strconv.Itoa(c.rate))
	}
	return append(args, c.flags...)
}

// plan is what is called for a case. If it is the same, a result can be kept.
type plan struct {
	Args       []string `json:"args"`
	Rounds     int      `json:"rounds"`
	Contenders []string `json:"contenders"` // The others are compared with the first.
}

// plan returns what is called for a case.
func (c *benchCase) plan(k *kit, rounds int) plan {
	p := plan{Args: c.arguments(), Rounds: rounds}
	for _, name := range c.contenders {
		if slices.Contains(k.names, name) {
			p.Contenders = append(p.Contenders, name)
		}
	}
	return p
}

// same tells whether two plans are the same.
func (p plan) same(other plan) bool {
	return slices.Equal(p.Args, other.Args) && p.Rounds == other.Rounds && slices.Equal(p.Contenders, other.Contenders)
}

// estimate returns how long a case will take, about.
func (c *benchCase) estimate(k *kit, rounds int) time.Duration {
	n := len(c.plan(k, rounds).Contenders)
	return time.Duration(float64(n*rounds) * c.seconds * float64(time.Second))
}
