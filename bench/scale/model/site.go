package model

import (
	"errors"
	"math"
	"time"
)

// Machine is what one server has.
type Machine struct {
	Cores float64
	Link  float64 // Bits a second, in each direction.
}

// Site is many nodes of crier on one cluster of NATS.
type Site struct {
	Nodes    int
	Conns    float64 // Of each node.
	Rate     float64 // Messages a second, published at all nodes together.
	Size     float64 // Bytes of a message.
	Channels float64 // Connections and messages are spread over them evenly, each connection in one.

	// Interest is in how many of the nodes a channel has connections: what a node gets of all messages. 0 is what comes
	// about when connections come to nodes by chance; 1 is nodes that get all there is.
	Interest float64

	// Follows is how many channels a node gets one by one: one that listens to more gets all there is. 0 is no bound.
	Follows float64

	Replicas int     // 1 or 3: servers of NATS, all of which have the stream.
	NATS     Machine // Each of them.
	Node     Machine

	// Joins is how many channels a second somebody listens to at a node where nobody did, and nobody some time later,
	// all nodes together. They cost what they do only where nodes get channels one by one.
	Joins float64

	// Presence is how often a node tells all others of its receivers; 0 is never. Changed is of how many channels then.
	Presence time.Duration
	Changed  float64
}

// Errors of Site.Check.
var (
	ErrReplicas = errors.New("model: replicas are 1 or 3, as those are measured")
	ErrSite     = errors.New("model: nodes, connections, channels, sizes and machines are more than 0, the rate is not less, and interest is from 0 to 1")
)

// Check says what is wrong with a Site: ErrReplicas or ErrSite, or nothing.
func (s Site) Check() error {
	if s.Replicas != 1 && s.Replicas != 3 {
		return ErrReplicas
	}
	for _, v := range []float64{float64(s.Nodes), s.Conns, s.Size, s.Channels, s.NATS.Cores, s.NATS.Link, s.Node.Cores, s.Node.Link} {
		if !(v > 0) || math.IsInf(v, 0) {
			return ErrSite
		}
	}
	if !(s.Rate >= 0) || math.IsInf(s.Rate, 0) || !(s.Interest >= 0 && s.Interest <= 1) || s.Presence < 0 || !(s.Joins >= 0) || math.IsInf(s.Joins, 0) || !(s.Follows >= 0) || !(s.Changed >= 0) {
		return ErrSite
	}
	return nil
}

// Follows is the bound of crier (cluster/interest.go).
const Follows = 256

// Share is what a node gets of all messages: Interest, or what it is by chance, or all if that is too many channels.
// A node has none of a channel's receivers with (1-1/nodes)^receivers.
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

// listens is in how many of the nodes a channel has connections.
func (s Site) listens() float64 {
	s.Follows = 0
	return s.Share()
}

// wire is what goes over a network for a byte of TCP: 90 of Ethernet, IP and TCP to 1,448 of a full packet. Messages
// that leave one by one have more.
const wire = 1 + 90.0/1448

// frameBytes is what a message to a connection is larger than its payload: the header of RFC 6455 and a line with an
// id.
const frameBytes = 32

// A message of presence has a head, and for each channel that has changed its name, here of 20 bytes, and 3
// (docs/operations.md).
const presenceBytes, changedBytes = 30, 23

// Beat is how often a node of so many tells the others of its receivers: a second for each 100, and a second at the
// least (package cluster/presence).
func Beat(nodes int) time.Duration { return time.Duration((nodes+99)/100) * time.Second }

// Use is what a Site uses.
type Use struct {
	// A server of NATS, the one that leads the stream.
	NATSCores  float64 // At ease.
	NATSBusy   float64 // Cores that it would need if all were busy: what the same costs when messages wait for each other.
	NATSLink   float64 // Bits a second out.
	NATSMemory float64 // Bytes of connections and consumers.
	StreamBusy float64 // Share of the time in which the stream is taking messages.

	// A node.
	NodeCores  float64 // At ease: each message is written to each receiver by itself.
	NodeBusy   float64 // Without the deliveries, which leave together when a node is busy.
	NodeLink   float64 // Bits a second out.
	NodeIn     float64 // Bits a second in, from NATS.
	NodeMemory float64 // Bytes, the kernel's sockets included.
	Pass       float64 // Seconds in which a message of one channel for all goes out to its receivers there.
}

// seconds are µs.
func seconds(micros float64) float64 { return micros / 1e6 }

// Use is what a Site uses that passes Check.
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

// What a node does when a channel comes, and when it goes (cluster/interest.go): consumers that it makes, and markers
// that it puts into the stream, and gets out of it again. When it comes, a consumer of this channel reads its
// history, another one what came meanwhile, if anything did, and the third is that of all channels anew, as it is
// when it goes.
const (
	ComeConsumers, ComeMarkers = 3, 2
	GoConsumers, GoMarkers     = 1, 1
)

// useJoins adds what channels that come and go cost.
func (c *Costs) useJoins(u *Use, s Site, st *Stream) {
	channels := s.Channels * s.listens()
	if s.Joins == 0 || s.Follows > 0 && channels > s.Follows {
		return
	}
	// NATS compares each subject of a consumer with each.
	small := ComeConsumers - 1.0
	large := 1.0 + GoConsumers
	part := channels / Follows
	cpu := seconds(s.Joins * st.Leader * (small*st.Join + large*(st.Join+part*part*max(0, st.JoinMost-st.Join))))
	u.NATSCores += cpu
	u.NATSBusy += cpu
	markers := s
	markers.Rate, markers.Size = s.Joins*(ComeMarkers+GoMarkers), 0
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

// useNATS adds what the leader of the stream does: its share of storing, and of the deliveries as much as each
// server, since consumers and connections are spread over all.
func (c *Costs) useNATS(u *Use, s Site, st *Stream, deliveries float64) {
	servers := float64(s.Replicas)
	u.NATSCores += seconds(s.Rate*st.Store.At(s.Size)*st.Leader + deliveries*st.Deliver.At(s.Size)/servers)
	passed := s.Rate*float64(s.Nodes) - deliveries
	u.NATSBusy += seconds(s.Rate*st.BusyStore.At(s.Size)*st.Leader + (deliveries*st.BusyDeliver.At(s.Size)+passed*st.Skip)/servers)
	out := s.Rate*(c.AckBytes+st.Replicate.At(s.Size)) + deliveries*(s.Size+c.DeliverBytes+st.Cross.At(s.Size))/servers
	u.NATSLink += 8 * wire * out
}

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

// usePresence adds what nodes tell each other: each of them hears all others, without a stream.
func (c *Costs) usePresence(u *Use, s Site) {
	if s.Presence == 0 {
		return
	}
	said, heard, size := s.presence()
	servers := float64(s.Replicas)
	cpu := seconds(heard * c.Core.At(size) / servers)
	u.NATSCores += cpu
	u.NATSBusy += cpu
	u.NATSLink += 8 * wire * heard * (size + c.CoreBytes) / servers
	each := heard / float64(s.Nodes)
	u.NodeCores += seconds(each * c.Message.At(size))
	u.NodeBusy += seconds(each * c.BusyMessage.At(size))
	u.NodeIn += 8 * wire * each * (size + c.CoreBytes)
	u.NodeLink += 8 * wire * said / float64(s.Nodes) * (size + c.CoreBytes)
}

// presence is how many messages nodes say and hear in a second, and how large they are.
func (s Site) presence() (said, heard, size float64) {
	nodes := float64(s.Nodes)
	said = nodes / s.Presence.Seconds()
	return said, said * (nodes - 1), presenceBytes + changedBytes*s.Changed
}

// Limit is what is used up first when a Site's rate grows.
type Limit struct {
	What string
	Rate float64 // Messages a second then, or what else grows; 0 if it is so without any, infinite if never.
}

// limits are what cannot be used more than whole, with the share of it that is used.
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

// easy are what is used up before, when machines still do each message by itself. What comes then waits, and costs
// less as it leaves together.
func (s Site) easy(u Use) map[string]float64 {
	return map[string]float64{
		"CPU of NATS":      u.NATSCores / s.NATS.Cores,
		"network of NATS":  u.NATSLink / s.NATS.Link,
		"CPU of a node":    u.NodeCores / s.Node.Cores,
		"network of nodes": u.NodeLink / s.Node.Link,
		"network to nodes": u.NodeIn / s.Node.Link,
	}
}

// First is the limit that a Site meets first as its rate grows.
func (c *Costs) First(s Site) Limit { return c.first(s, s.limits, (*Site).setRate) }

// Easy is the rate up to which each message goes its way by itself.
func (c *Costs) Easy(s Site) Limit { return c.first(s, s.easy, (*Site).setRate) }

// FirstJoin is the limit that it meets first as channels come and go.
func (c *Costs) FirstJoin(s Site) Limit { return c.first(s, s.limits, (*Site).setJoins) }

func (s *Site) setRate(v float64)  { s.Rate = v }
func (s *Site) setJoins(v float64) { s.Joins = v }

// first solves for what set sets: what is used is a line in it, of which all else is the part that is there without.
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
