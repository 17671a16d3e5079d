package model

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Client is the way in which clients reconnect.
type Client struct {
	Name    string
	First   func(*rand.Rand) time.Duration          // From the loss of the connection to the first attempt.
	Again   func(r *rand.Rand, n int) time.Duration // From the n-th failed attempt to the next one.
	Timeout time.Duration                           // Of one attempt.
	Resume  bool                                    // The client asks for the messages that it missed.
}

// The parameters of clients/js/crier.js. TestAsTheyAre compares them with it.
const (
	jsBackoff    = 500 * time.Millisecond
	jsMaxBackoff = 30 * time.Second
	jsTimeout    = 15 * time.Second
)

// BackOff is clients/js: it waits for a random part of a time that doubles with each attempt.
var BackOff = Client{
	Name:    "crier.js",
	First:   func(r *rand.Rand) time.Duration { return part(r, jsBackoff) },
	Again:   func(r *rand.Rand, n int) time.Duration { return part(r, min(jsMaxBackoff, jsBackoff<<min(n, 10))) },
	Timeout: jsTimeout, Resume: true,
}

// Naive is a client that reconnects at once, and then every second.
var Naive = Client{
	Name:    "at once",
	First:   func(*rand.Rand) time.Duration { return 0 },
	Again:   func(*rand.Rand, int) time.Duration { return time.Second },
	Timeout: 20 * time.Second,
}

// part returns a random part of d.
func part(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Float64() * float64(d))
}

// Storm is the failure of one node of a site, whose clients reconnect to the other nodes at random. Site.Check must
// return nil, and the Site must have two nodes or more, and at least one connection and core per node.
type Storm struct {
	Site    Site
	Client  Client
	TLS     bool          // Nodes do the TLS handshakes too, as with a proxy beside each.
	Drain   time.Duration // The time over which connections are closed; 0 is a crash.
	Detect  time.Duration // How long the load balancer still sends connections to the failed node.
	Backlog int           // The length of a node's accept queue.
	Seed    uint64
}

// Outcome is the result of a storm.
type Outcome struct {
	Clients        int           // Clients that reconnected.
	Half, P99, All time.Duration // Until this part of them was back.
	Tries          int           // Attempts of all clients.
	Refused        int           // Attempts at the failed node.
	Dropped        int           // SYN packets that were dropped because an accept queue was full.
	TimedOut       int           // Attempts that took longer than Client.Timeout.
	Backlog        int           // The longest accept queue of any node.
	Peak           float64       // The used share of a node's cores in its busiest second, deliveries included.
	Missed         float64       // Bytes of missed messages that were sent to clients that resumed.
}

// lostClient is a client of the failed node. Times count from the beginning of the storm.
type lostClient struct {
	lost  time.Duration // When it lost its connection.
	began time.Duration // When its current attempt began.
	fails int           // Failed attempts.
	sent  int           // SYN packets of the current attempt that were dropped.
	at    int           // The index of the node that it tries.
}

// kind is a step of a client's reconnection.
type kind int

const (
	try    kind = iota // It begins to connect.
	syn                // Its SYN packet arrives at the node.
	accept             // The node accepts the connection.
	done               // It has received everything that it missed.
)

type event struct {
	at     time.Duration
	number int // Orders events with the same time: the one that was added first has the lower number.
	kind   kind
	client int
}

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.number < other.number
}

// events is a binary heap: the event at i is before those at 2i+1 and 2i+2.
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

// run is a storm that is being played.
type run struct {
	Storm
	costs   *Costs
	random  *rand.Rand
	load    float64 // The share of the nodes' cores that deliveries use.
	spare   float64 // Bits per second of a link that deliveries leave.
	nodes   []node  // The last one has failed.
	clients []lostClient
	events  events
	made    int // Events so far.
	back    []time.Duration
	out     Outcome
}

// most is the largest share of a machine that deliveries use. Beyond it they queue, and batches make them cheaper.
const most = 0.8

// enough ends a storm that would not end by itself, since nodes cannot complete a handshake within Client.Timeout.
const enough = time.Hour

// Run plays a storm, event by event. The same Storm has the same Outcome.
func (c *Costs) Run(s Storm) Outcome {
	r := &run{Storm: s, costs: c, random: rand.New(rand.NewPCG(s.Seed, 0)), nodes: make([]node, s.Site.Nodes)}
	rest := s.Site // The other nodes have the clients of the failed one as well.
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
		r.handle(r.events.pop())
	}
	return r.outcome()
}

func (r *run) add(at time.Duration, k kind, client int) {
	r.made++
	r.events.push(event{at, r.made, k, client})
}

// latency returns half a round trip: 10 to 60 ms.
func (r *run) latency() time.Duration {
	return 10*time.Millisecond + part(r.random, 50*time.Millisecond)
}

func (r *run) handle(e event) {
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

// fail records a failed attempt of a client, and adds the next one.
func (r *run) fail(at time.Duration, client int) {
	c := &r.clients[client]
	c.fails++
	r.add(at+r.Client.Again(r.random, c.fails), try, client)
}

// syn handles the arrival of a SYN packet. With a full accept queue the kernel drops it, and the client sends it again
// after 1, 2, 4 s and so on (tcp_syn_retries, tcp(7)).
func (r *run) syn(e event, c *lostClient) {
	n := &r.nodes[c.at]
	if n.backlog >= r.Backlog {
		r.out.Dropped++
		again := e.at + time.Second<<c.sent
		c.sent++
		if again-c.began >= r.Client.Timeout {
			r.timeOut(c, e.client)
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

// cpu returns how long so many µs of CPU time take on cores that deliveries use as well.
func (r *run) cpu(micros float64) time.Duration {
	return time.Duration(micros * float64(time.Microsecond) / (1 - r.load))
}

// timeOut records an attempt that took longer than Client.Timeout.
func (r *run) timeOut(c *lostClient, client int) {
	r.out.TimedOut++
	r.fail(c.began+r.Client.Timeout, client)
}

// accept handles an accepted connection: the handshakes, and the messages that the client missed. For a client that has
// given up meanwhile the node only finds that out.
func (r *run) accept(e event, c *lostClient) {
	n := &r.nodes[c.at]
	n.backlog--
	micros := max(0, r.costs.Handshake-r.costs.Accept)
	if r.TLS {
		micros += r.costs.TLS
	}
	ends := slices.Min(n.cores)
	if max(ends, e.at)-c.began >= r.Client.Timeout {
		n.runOnCore(e.at, r.cpu(r.costs.Accept))
		r.timeOut(c, e.client)
		return
	}
	missed := 0.0
	if r.Client.Resume {
		s := &r.Site
		messages := s.Rate / s.Channels * (e.at - c.lost).Seconds()
		missed = messages * (s.Size + frameBytes)
		micros += r.costs.Send.At(missed)
	}
	end := n.runOnCore(e.at, r.cpu(micros))
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
			// cpu has stretched the storm's work, because deliveries use a share of the cores.
			own := busy.Seconds() * (1 - r.load) / r.Site.Node.Cores
			o.Peak = min(1, max(o.Peak, own+r.load))
		}
	}
	return *o
}
