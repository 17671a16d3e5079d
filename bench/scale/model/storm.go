package model

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Client is how clients come back.
type Client struct {
	Name    string
	First   func(*rand.Rand) time.Duration          // From losing the connection to the first try.
	Again   func(r *rand.Rand, n int) time.Duration // From a try that failed to the next; n is how many have.
	Timeout time.Duration                           // Of a try.
	Resume  bool                                    // They get what they missed.
}

// The parameters of clients/js/crier.js, which TestAsTheyAre holds against it.
const (
	jsBackoff    = 500 * time.Millisecond
	jsMaxBackoff = 30 * time.Second
	jsTimeout    = 15 * time.Second
)

// BackOff is clients/js: a random part of what doubles with each try.
var BackOff = Client{
	Name:    "crier.js",
	First:   func(r *rand.Rand) time.Duration { return part(r, jsBackoff) },
	Again:   func(r *rand.Rand, n int) time.Duration { return part(r, min(jsMaxBackoff, jsBackoff<<min(n, 10))) },
	Timeout: jsTimeout, Resume: true,
}

// Naive is a client that comes back at once, and then each second.
var Naive = Client{
	Name:    "at once",
	First:   func(*rand.Rand) time.Duration { return 0 },
	Again:   func(*rand.Rand, int) time.Duration { return time.Second },
	Timeout: 20 * time.Second,
}

func part(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Float64() * float64(d))
}

// Storm is a node of a site that is gone, and its clients, which come back to the others by chance. Its Site passes
// Check, and has two nodes or more, and connections and cores of 1 or more.
type Storm struct {
	Site    Site
	Client  Client
	TLS     bool          // Nodes do the handshakes of TLS, too: a proxy beside each.
	Drain   time.Duration // Over how long connections are closed; 0 is a crash.
	Detect  time.Duration // How long the load balancer still sends connections to the node that is gone.
	Backlog int           // Of a node's listener.
	Seed    uint64
}

// Outcome is how a storm went.
type Outcome struct {
	Clients        int           // Who came back.
	Half, P99, All time.Duration // Until so many are back.
	Tries          int           // Of all.
	Refused        int           // Tries at the node that is gone.
	Dropped        int           // First packets that a full backlog dropped.
	TimedOut       int           // Tries that took too long.
	Backlog        int           // Most connections that waited at one node to be accepted.
	Peak           float64       // Share of a node's cores in its busiest second, deliveries included.
	Missed         float64       // Bytes that were sent again.
}

// lostClient is a client of the node that is gone.
type lostClient struct {
	lost  time.Duration // When.
	began time.Duration // When its try did.
	fails int
	sent  int // Its first packet, of this try.
	at    int // The node that it tries.
}

// kind is what happens to a client.
type kind int

const (
	try    kind = iota // It begins to connect.
	syn                // Its packet comes to the node.
	accept             // The node takes the connection.
	done               // It has all.
)

type event struct {
	at     time.Duration
	number int // Of two at one time the first that was made comes first.
	kind   kind
	client int
}

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.number < other.number
}

// events are a heap: each comes before those at twice its place and one and two more.
type events []event

func (e *events) push(added event) {
	*e = append(*e, added)
	all := *e
	for i := len(all) - 1; i > 0 && all[i].before(all[(i-1)/2]); i = (i - 1) / 2 {
		all[i], all[(i-1)/2] = all[(i-1)/2], all[i]
	}
}

func (e *events) pop() event {
	all := *e
	first, n := all[0], len(all)-1
	all[0], *e = all[n], all[:n]
	for i, least := 0, 0; ; i = least {
		for _, child := range []int{2*i + 1, 2*i + 2} {
			if child < n && all[child].before(all[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		all[i], all[least] = all[least], all[i]
	}
}

// run is a storm that goes on.
type run struct {
	Storm
	costs   *Costs
	random  *rand.Rand
	load    float64 // Share of the nodes' cores that deliveries have.
	spare   float64 // Bits a second that they leave of a link.
	nodes   []node  // The last one is gone.
	clients []lostClient
	events  events
	made    int
	back    []time.Duration
	out     Outcome
}

// most is the share that deliveries have of a machine at the most: they wait for what is short, and leave together.
const most = 0.8

// enough is when a storm is given up that does not end: nodes that cannot do a handshake in a client's time.
const enough = time.Hour

// Run plays a storm, event by event. The same Storm has the same Outcome.
func (c *Costs) Run(s Storm) Outcome {
	r := &run{Storm: s, costs: c, random: rand.New(rand.NewPCG(s.Seed, 0)), nodes: make([]node, s.Site.Nodes)}
	rest := s.Site // Each of the others has more clients then.
	rest.Conns *= float64(s.Site.Nodes) / float64(max(1, s.Site.Nodes-1))
	use := c.Use(rest)
	r.load = min(most, use.NodeCores/s.Site.Node.Cores)
	r.spare = s.Site.Node.Link * (1 - min(most, use.NodeLink/s.Site.Node.Link))
	for i := range r.nodes {
		r.nodes[i].cores = make([]time.Duration, int(s.Site.Node.Cores))
	}
	r.clients = make([]lostClient, int(s.Site.Conns))
	for i := range r.clients {
		lost := s.Drain * time.Duration(i) / time.Duration(len(r.clients))
		r.clients[i].lost = lost
		r.add(lost+s.Client.First(r.random), try, i)
	}
	for len(r.events) > 0 && r.events[0].at < enough {
		r.happen(r.events.pop())
	}
	return r.outcome()
}

func (r *run) add(at time.Duration, k kind, client int) {
	r.made++
	r.events.push(event{at, r.made, k, client})
}

// latency is half a round trip: from 10 to 60 ms.
func (r *run) latency() time.Duration {
	return 10*time.Millisecond + part(r.random, 50*time.Millisecond)
}

func (r *run) happen(e event) {
	c := &r.clients[e.client]
	switch e.kind {
	case try:
		r.try(e, c)
	case syn:
		r.syn(e, c)
	case accept:
		r.accept(e, c)
	case done:
		r.back = append(r.back, e.at-c.lost)
	}
}

func (r *run) try(e event, c *lostClient) {
	r.out.Tries++
	c.began, c.sent = e.at, 0
	nodes := len(r.nodes)
	if e.at >= r.Detect || r.Drain > 0 { // /readyz fails as soon as a drain begins.
		nodes--
	}
	c.at = r.random.IntN(nodes)
	if c.at == len(r.nodes)-1 {
		r.out.Refused++
		r.fail(e.at+2*r.latency(), e.client)
		return
	}
	r.add(e.at+r.latency(), syn, e.client)
}

// fail is a try that came to nothing.
func (r *run) fail(at time.Duration, client int) {
	c := &r.clients[client]
	c.fails++
	r.add(at+r.Client.Again(r.random, c.fails), try, client)
}

// syn: a packet to a full backlog is dropped, and sent again after 1, 2, 4 s and so on (tcp_syn_retries).
func (r *run) syn(e event, c *lostClient) {
	n := &r.nodes[c.at]
	if n.backlog >= r.Backlog {
		r.out.Dropped++
		again := e.at + time.Second<<c.sent
		c.sent++
		if again-c.began >= r.Client.Timeout {
			r.late(c, e.client)
			return
		}
		r.add(again, syn, e.client)
		return
	}
	n.backlog++
	r.out.Backlog = max(r.out.Backlog, n.backlog)
	cpu := r.cpu(r.costs.Accept)
	n.accepts = max(e.at, n.accepts) + cpu
	n.charge(n.accepts-cpu, cpu)
	r.add(n.accepts, accept, e.client)
}

// cpu is how long µs of CPU take on cores that deliveries have a share of.
func (r *run) cpu(micros float64) time.Duration {
	return time.Duration(micros * float64(time.Microsecond) / (1 - r.load))
}

// late is a try whose time is over.
func (r *run) late(c *lostClient, client int) {
	r.out.TimedOut++
	r.fail(c.began+r.Client.Timeout, client)
}

// accept: the handshakes, and what the client missed. One who has gone meanwhile costs what there is to see that.
func (r *run) accept(e event, c *lostClient) {
	n := &r.nodes[c.at]
	n.backlog--
	micros := max(0, r.costs.Handshake-r.costs.Accept)
	if r.TLS {
		micros += r.costs.TLS
	}
	ends := slices.Min(n.cores)
	if max(ends, e.at)-c.began >= r.Client.Timeout {
		n.take(e.at, r.cpu(r.costs.Accept))
		r.late(c, e.client)
		return
	}
	missed := 0.0
	if r.Client.Resume {
		s := &r.Site
		messages := s.Rate / s.Channels * (e.at - c.lost).Seconds()
		missed = messages * (s.Size + frameBytes)
		micros += r.costs.Send.At(missed)
	}
	end := n.take(e.at, r.cpu(micros))
	r.out.Missed += missed
	n.link = max(end, n.link) + time.Duration(8*wire*missed/r.spare*float64(time.Second))
	r.add(n.link+r.latency(), done, e.client)
}

func (r *run) outcome() Outcome {
	o := &r.out
	o.Clients = len(r.back)
	if o.Clients == 0 {
		return *o
	}
	slices.Sort(r.back)
	o.Half, o.P99, o.All = r.back[len(r.back)/2], r.back[len(r.back)*99/100], r.back[len(r.back)-1]
	for i := range r.nodes {
		for _, busy := range r.nodes[i].busy {
			// What it takes is longer by the share of deliveries, which is not the storm's.
			own := busy.Seconds() * (1 - r.load) / r.Site.Node.Cores
			o.Peak = min(1, max(o.Peak, own+r.load))
		}
	}
	return *o
}
