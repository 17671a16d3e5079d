package model

import (
	"errors"
	"math"
	"time"
)

// Machine is the capacity of one server.
type Machine struct {
	Cores float64
	Link  float64 // Bits per second, in each direction.
}

// Site is a number of crier nodes that share one NATS cluster.
type Site struct {
	Nodes    int
	Conns    float64 // Connections of each node.
	Rate     float64 // Messages per second, published at all nodes together.
	Size     float64 // Bytes of a message.
	Channels float64 // Connections and messages are spread over the channels evenly. Each connection is in one channel.

	// Interest is the share of all nodes at which a channel has connections, and so the share of all messages that a
	// node receives. 0 stands for the share that results when connections choose nodes at random. With 1, every node
	// receives all messages.
	Interest float64

	// Follows is the largest number of channels that a node subscribes to one by one. A node with more channels
	// receives all messages. 0 is no bound.
	Follows float64

	Replicas int     // 1 or 3: the number of NATS servers, each of which holds the stream.
	NATS     Machine // Each NATS server.
	Node     Machine // Each crier node.

	// Joins is the number of times per second, at all nodes together, that a channel gets its first connection at a
	// node. The channel loses that connection some time later. Joins cost something only where nodes subscribe to
	// channels one by one.
	Joins float64

	// Presence is the interval at which a node sends its receiver counts to all other nodes; 0 is never. Changed is
	// the number of channels in each of these messages.
	Presence time.Duration
	Changed  float64
}

// Errors of Site.Check.
var (
	ErrReplicas = errors.New("model: replicas are 1 or 3, as those are measured")
	ErrSite     = errors.New("model: nodes, connections, channels, sizes and machines must be more than 0, " +
		"rates, joins and presence at least 0, and interest from 0 to 1")
)

// Check returns ErrReplicas or ErrSite if a value of s is out of range.
func (s Site) Check() error {
	if s.Replicas != 1 && s.Replicas != 3 {
		return ErrReplicas
	}
	for _, v := range []float64{
		float64(s.Nodes), s.Conns, s.Size, s.Channels, s.NATS.Cores, s.NATS.Link, s.Node.Cores, s.Node.Link,
	} {
		if !(v > 0) || math.IsInf(v, 0) { // NaN is not more than 0 either.
			return ErrSite
		}
	}
	finite := func(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }
	if !finite(s.Rate) || !finite(s.Joins) || !(s.Interest >= 0 && s.Interest <= 1) ||
		s.Presence < 0 || !(s.Follows >= 0) || !(s.Changed >= 0) {
		return ErrSite
	}
	return nil
}

// Follows is crier's own value of Site.Follows (cluster/interest.go).
const Follows = 256

// Share returns the share of all messages that a node receives: Interest if it is set, and otherwise the share that
// results when connections choose nodes at random. It is 1 if the node would follow too many channels one by one.
// The probability that a node has none of a channel's receivers is (1-1/nodes)^receivers.
func (s Site) Share() float64 {
	share := s.Interest
	if share == 0 {
		receivers := s.Conns * float64(s.Nodes) / s.Channels
		share = 1 - math.Pow(1-1/float64(s.Nodes), receivers)
	}
	if s.Follows > 0 && s.Channels*share > s.Follows {
		return 1
	}
	return share
}

// listens returns the share of all nodes at which a channel has connections.
func (s Site) listens() float64 {
	s.Follows = 0
	return s.Share()
}

// wire is the number of bytes on the network for each byte of TCP payload. A full packet has 1,448 bytes of payload and
// 90 bytes of Ethernet, IP and TCP headers. Messages that are sent one by one have a larger overhead.
const wire = 1 + 90.0/1448

// frameBytes is what a message to a connection takes besides its payload: a frame header (RFC 6455, section 5.2) and a
// line with an ID.
const frameBytes = 32

// A presence message has a head, and an entry for each channel that has changed: a name, here of 20 bytes, and 3 more
// bytes (docs/operations.md).
const presenceBytes, changedBytes = 30, 23

// Beat returns the interval at which each of so many nodes sends its receiver counts: one second for every 100 nodes
// or part of them (package cluster/presence).
func Beat(nodes int) time.Duration { return time.Duration((nodes+99)/100) * time.Second }

// Use is the load that a Site puts on its machines. Under light load each message is processed by itself. Under full
// load messages queue and are processed in batches, which costs less CPU for each.
type Use struct {
	// The NATS server that leads the stream.
	NATSCores  float64 // Cores, at the costs of light load.
	NATSBusy   float64 // Cores, at the costs of full load.
	NATSLink   float64 // Bits per second out.
	NATSMemory float64 // Bytes for connections and consumers.
	StreamBusy float64 // Share of the time in which the stream is storing messages.

	// A node.
	NodeCores  float64 // Cores, at the costs of light load: one write for each message and receiver.
	NodeBusy   float64 // Cores, at the costs of full load, without deliveries: a busy node sends them in batches.
	NodeLink   float64 // Bits per second out.
	NodeIn     float64 // Bits per second in, from NATS.
	NodeMemory float64 // Bytes, the kernel's sockets included.
	Pass       float64 // Seconds that it takes to send one message to all receivers of its channel at this node.
}

// seconds converts microseconds.
func seconds(micros float64) float64 { return micros / 1e6 }

// Use returns the load of a Site for which Check returns nil.
func (c *Costs) Use(s Site) (u Use) {
	st := c.stream(s.Replicas)
	nodes, servers := float64(s.Nodes), float64(s.Replicas)
	deliveries := s.Rate * nodes * s.Share()
	c.useNATS(&u, s, st, deliveries)
	u.NATSMemory = nodes * c.NATSMemory / servers
	u.StreamBusy = seconds(s.Rate * st.BusyTime.At(s.Size))
	c.useNode(&u, s, deliveries/nodes)
	c.usePresence(&u, s)
	c.useJoins(&u, s, st)
	return u
}

// What a node does when it starts to follow a channel, and when it stops (cluster/interest.go): it creates consumers,
// and publishes markers to the stream, which it also receives. When it starts, the first consumer reads the channel's
// history, the second reads what was published meanwhile, if anything was, and the third replaces the consumer of all
// its channels. When it stops, only that consumer is replaced.
const (
	JoinConsumers, JoinMarkers   = 3, 2
	LeaveConsumers, LeaveMarkers = 1, 1
)

// useJoins adds the cost of s.Joins to u.
func (c *Costs) useJoins(u *Use, s Site, st *Stream) {
	channels := s.Channels * s.listens()
	if s.Joins == 0 || s.Follows > 0 && channels > s.Follows {
		return
	}
	// NATS compares each subject of a consumer with every other one: the cost is quadratic.
	small := JoinConsumers - 1.0
	large := 1.0 + LeaveConsumers
	part := channels / Follows
	cpu := seconds(s.Joins * st.Leader * (small*st.Join + large*(st.Join+part*part*max(0, st.JoinMost-st.Join))))
	u.NATSCores += cpu
	u.NATSBusy += cpu
	markers := s
	markers.Rate, markers.Size = s.Joins*(JoinMarkers+LeaveMarkers), 0
	c.useNATS(u, markers, st, markers.Rate)
	u.StreamBusy += seconds(markers.Rate * st.BusyTime.At(0))
	each := markers.Rate / float64(s.Nodes)
	u.NodeCores += seconds(each * c.Message.At(0))
	u.NodeBusy += seconds(each * c.BusyMessage.At(0))
	u.NodeIn += 8 * wire * each * c.DeliverBytes
}

func (c *Costs) stream(replicas int) *Stream {
	if replicas == 1 {
		return &c.R1
	}
	return &c.R3
}

// useNATS adds the load of the stream's leader to u: its share of storing, and an equal share of the deliveries, since
// consumers and connections are spread over all servers.
func (c *Costs) useNATS(u *Use, s Site, st *Stream, deliveries float64) {
	servers := float64(s.Replicas)
	u.NATSCores += seconds(s.Rate*st.Store.At(s.Size)*st.Leader + deliveries*st.Deliver.At(s.Size)/servers)
	passed := s.Rate*float64(s.Nodes) - deliveries
	u.NATSBusy += seconds(s.Rate*st.BusyStore.At(s.Size)*st.Leader +
		(deliveries*st.BusyDeliver.At(s.Size)+passed*st.Skip)/servers)
	out := s.Rate*(c.AckBytes+st.Replicate.At(s.Size)) + deliveries*(s.Size+c.DeliverBytes+st.Cross.At(s.Size))/servers
	u.NATSLink += 8 * wire * out
}

// useNode adds the load of a node that receives so many messages per second to u.
func (c *Costs) useNode(u *Use, s Site, messages float64) {
	published := s.Rate / float64(s.Nodes)
	received := s.Rate * s.Conns / s.Channels // Deliveries to connections.
	stream := seconds(messages*c.Message.At(s.Size) + published*c.Publish)
	u.NodeCores += stream + seconds(received*c.Send.At(s.Size))
	u.NodeBusy += seconds((messages + published) * c.BusyMessage.At(s.Size))
	u.NodeLink += 8 * wire * (received*(s.Size+frameBytes) + published*(s.Size+c.PublishBytes))
	u.NodeIn += 8 * wire * messages * (s.Size + c.DeliverBytes)
	u.NodeMemory += s.Conns*(c.ConnMemory+c.KernelMemory) + c.CrierMemory
	u.Pass = seconds(s.Conns / max(1, s.Channels*s.listens()) * c.Send.At(s.Size) / s.Node.Cores)
}

// usePresence adds the cost of presence messages to u. Each node receives those of all others, without a stream.
func (c *Costs) usePresence(u *Use, s Site) {
	if s.Presence == 0 {
		return
	}
	sent, received, size := s.presence()
	servers := float64(s.Replicas)
	cpu := seconds(received * c.Core.At(size) / servers)
	u.NATSCores += cpu
	u.NATSBusy += cpu
	u.NATSLink += 8 * wire * received * (size + c.CoreBytes) / servers
	each := received / float64(s.Nodes)
	u.NodeCores += seconds(each * c.Message.At(size))
	u.NodeBusy += seconds(each * c.BusyMessage.At(size))
	u.NodeIn += 8 * wire * each * (size + c.CoreBytes)
	u.NodeLink += 8 * wire * sent / float64(s.Nodes) * (size + c.CoreBytes)
}

// presence returns how many presence messages all nodes send and receive per second, and the bytes of each.
func (s Site) presence() (sent, received, size float64) {
	nodes := float64(s.Nodes)
	sent = nodes / s.Presence.Seconds()
	return sent, sent * (nodes - 1), presenceBytes + changedBytes*s.Changed
}

// Limit is the resource that runs out first when a rate of a Site grows.
type Limit struct {
	What string
	Rate float64 // The rate per second at which it runs out: 0 if it has run out already, infinite if it never does.
}

// limits returns the used share of each resource under full load. None of them can be more than 1.
func (s Site) limits(u Use) map[string]float64 {
	return map[string]float64{
		"CPU of NATS":      u.NATSBusy / s.NATS.Cores,
		"network of NATS":  u.NATSLink / s.NATS.Link,
		"the stream":       u.StreamBusy,
		"CPU of a node":    u.NodeBusy / s.Node.Cores,
		"network of nodes": u.NodeLink / s.Node.Link,
		"network to nodes": u.NodeIn / s.Node.Link,
	}
}

// easy returns the used share of each resource under light load. Above 1, messages queue, and batches make them
// cheaper.
func (s Site) easy(u Use) map[string]float64 {
	return map[string]float64{
		"CPU of NATS":      u.NATSCores / s.NATS.Cores,
		"network of NATS":  u.NATSLink / s.NATS.Link,
		"CPU of a node":    u.NodeCores / s.Node.Cores,
		"network of nodes": u.NodeLink / s.Node.Link,
		"network to nodes": u.NodeIn / s.Node.Link,
	}
}

// First returns the limit that a Site reaches first as its Rate grows.
func (c *Costs) First(s Site) Limit { return c.first(s, s.limits, (*Site).setRate) }

// Easy returns the limit up to which each message is processed by itself as its Rate grows.
func (c *Costs) Easy(s Site) Limit { return c.first(s, s.easy, (*Site).setRate) }

// FirstJoin returns the limit that a Site reaches first as its Joins grow.
func (c *Costs) FirstJoin(s Site) Limit { return c.first(s, s.limits, (*Site).setJoins) }

func (s *Site) setRate(v float64)  { s.Rate = v }
func (s *Site) setJoins(v float64) { s.Joins = v }

// first returns the limit that is reached first as the value that set sets grows. The load is a linear function of that
// value: two points of it are enough.
func (c *Costs) first(s Site, limits func(Use) map[string]float64, set func(*Site, float64)) Limit {
	set(&s, 0)
	none := limits(c.Use(s))
	set(&s, 1)
	one := limits(c.Use(s))
	first := Limit{Rate: math.Inf(1)}
	for what, used := range none {
		if one[what] == used {
			continue
		}
		rate := max(0, 1-used) / (one[what] - used)
		if rate < first.Rate || rate == first.Rate && what < first.What {
			first = Limit{what, rate}
		}
	}
	return first
}
