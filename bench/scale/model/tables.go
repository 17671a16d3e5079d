package model

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// server is what the tables take each machine to have.
var server = Machine{Cores: 8, Link: 10e9}

// sizes are how many nodes the tables have.
var sizes = []int{10, 100, 1000}

// one is one channel for all: a ticker.
func one(nodes int) Site {
	return Site{Nodes: nodes, Conns: 10_000, Rate: 10, Size: 1024, Channels: 1, Interest: 1, Replicas: 3, NATS: server, Node: server}
}

// rooms is channels of 100 receivers, each of which says something every 100 s.
func rooms(nodes int) Site {
	const conns, receivers, every = 10_000, 100, 100
	all := conns * float64(nodes)
	return Site{Nodes: nodes, Conns: conns, Rate: all / every, Size: 200, Channels: all / receivers, Follows: Follows, Replicas: 3, NATS: server, Node: server}
}

// Tables are the tables of docs/scale.md by name.
func (c *Costs) Tables() map[string]string {
	return map[string]string{
		"constants": c.constants(), "nodes": c.besideOne(), "one": c.oneTable(), "rooms": c.roomsTable(),
		"churn": c.churnTable(), "presence": c.presenceTable(), "remedies": c.remedies(), "storm": c.storms(), "start": c.starts(),
	}
}

// constants has a line for each of Costs.
func (c *Costs) constants() string {
	t := table{head: []string{"what", "100 B", "1 KiB", "unit"}}
	line := func(what string, l Linear, unit string) { t.row(what, figure(l.At(100)), figure(l.At(1024)), unit) }
	same := func(what string, v float64, unit string) { t.row(what, figure(v), figure(v), unit) }
	for _, s := range []struct {
		of string
		*Stream
	}{{"1 replica", &c.R1}, {"3 replicas", &c.R3}} {
		line("NATS, "+s.of+": a message, light load", s.Store, "µs")
		line("and for each node, light load", s.Deliver, "µs")
		line("a message, saturated", s.BusyStore, "µs")
		line("and for each node, saturated", s.BusyDeliver, "µs")
		same("and for each node that does not read its channel, saturated", s.Skip, "µs")
		line("time from one message to the next, saturated", s.BusyTime, "µs")
		t.row("creating and deleting a consumer: for one channel (left) and for 256 channels (right)", figure(s.Join), figure(s.JoinMost), "µs")
	}
	line("between 3 NATS servers, for a message", c.R3.Replicate, "B")
	line("and for each node", c.R3.Cross, "B")
	line("NATS: a presence message of one node to another", c.Core, "µs")
	same("to NATS for a message, besides its payload", c.PublishBytes, "B")
	same("to a node for a message, besides its payload", c.DeliverBytes, "B")
	same("from a node for a message", c.ReturnBytes, "B")
	t.row("memory of NATS for a node", bytes(c.NATSMemory), "", "")
	line("crier: a message of the stream, light load, without its deliveries", c.Message, "µs")
	line("the same, saturated", c.BusyMessage, "µs")
	same("crier: a message into the stream, light load", c.Publish, "µs")
	t.row("memory of crier for the cluster", bytes(c.CrierMemory), "", "")
	line("crier: a delivery (*)", c.Send, "µs")
	t.row("crier: a handshake (*)", figure(c.Handshake), "", "µs")
	t.row("crier: a connection before its request", figure(c.Accept), "", "µs")
	t.row("a proxy: a handshake of TLS 1.3; with a ticket", figure(c.TLS), figure(c.TLSResumed), "µs")
	t.row("memory of crier, of the kernel, for a connection (*)", bytes(c.ConnMemory), bytes(c.KernelMemory), "")
	return t.String()
}

func (c *Costs) besideOne() string {
	t := table{head: []string{"", "p50 [ms]", "p99 [ms]", "messages a second", "CPU of all criers for a message [µs]"}}
	for _, n := range c.Nodes {
		t.row(n.Name, figure(n.P50), figure(n.P99), figure(n.Rate), figure(n.CPU))
	}
	return t.String()
}

// limit writes a limit with its rate.
func limit(l Limit) string {
	if math.IsInf(l.Rate, 1) {
		return "none"
	}
	return fmt.Sprintf("%s: %s/s", l.What, figure(l.Rate))
}

func (c *Costs) oneTable() string {
	t := table{head: []string{"nodes", "connections", "NATS, each server: cores", "Gbit/s out", "memory", "each node: cores", "Gbit/s out", "memory", "first limit"}}
	for _, n := range sizes {
		s := one(n)
		u := c.Use(s)
		t.row(figure(float64(n)), figure(float64(n)*s.Conns), figure(u.NATSCores), gigabits(u.NATSLink), bytes(u.NATSMemory),
			figure(u.NodeCores), gigabits(u.NodeLink), bytes(u.NodeMemory), limit(c.First(s)))
	}
	return t.String()
}

func (c *Costs) roomsTable() string {
	t := table{head: []string{"nodes", "messages a second", "a node reads", "share", "each NATS server: cores, light load", "saturated", "Gbit/s out", "each node: cores", "light load up to", "first limit"}}
	for _, n := range sizes {
		for _, w := range ways(rooms(n)) {
			u := c.Use(w.Site)
			t.row(figure(float64(n)), figure(w.Rate), w.gets, percentOf(w.Share()), figure(u.NATSCores), figure(u.NATSBusy), gigabits(u.NATSLink), figure(u.NodeCores),
				limit(c.Easy(w.Site)), limit(c.First(w.Site)))
		}
	}
	return t.String()
}

// way is how connections and channels come to nodes.
type way struct {
	gets string
	Site
}

func ways(s Site) []way {
	unbound := s
	unbound.Follows = 0
	return []way{{"all", s}, {"the channels of its clients, without a limit", unbound}, {"channels of its own", s.Placed()}}
}

// percentOf is percent with one digit where that is little.
func percentOf(share float64) string {
	if share < 0.1 {
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return percent(share)
}

func (c *Costs) churnTable() string {
	t := table{head: []string{"nodes", "a channel lasts", "opened and closed a second", "each NATS server: cores, saturated", "Gbit/s out", "first limit, without messages"}}
	for _, n := range sizes {
		for _, life := range []time.Duration{time.Hour, time.Minute} {
			s := rooms(n).Placed()
			s.Rate, s.Joins = 0, s.Channels/life.Seconds()
			u := c.Use(s)
			t.row(figure(float64(n)), map[time.Duration]string{time.Hour: "1 hour", time.Minute: "1 minute"}[life], figure(s.Joins), figure(u.NATSBusy), gigabits(u.NATSLink), limit(c.FirstJoin(s)))
		}
	}
	return t.String()
}

func (c *Costs) presenceTable() string {
	t := table{head: []string{"nodes", "interval", "messages a second into NATS", "out of NATS", "each NATS server: cores", "Gbit/s out", "each node: cores, light load"}}
	for _, n := range sizes {
		for _, every := range slices.Compact([]time.Duration{time.Second, Beat(n), 30 * time.Second}) {
			s := one(n)
			s.Rate, s.Presence, s.Changed = 0, every, 10*every.Seconds()
			u := c.Use(s)
			sent, received, _ := s.presence()
			t.row(figure(float64(n)), fmt.Sprintf("%.0f s", every.Seconds()), figure(sent), figure(received), figure(u.NATSCores), gigabits(u.NATSLink), figure(u.NodeCores))
		}
	}
	return t.String()
}

func (c *Costs) remedies() string {
	t := table{head: []string{"1,000 nodes, 100,000 messages a second", "NATS servers", "busiest server: cores, saturated", "Gbit/s out", "first limit of the whole site"}}
	site := rooms(1000)
	line := func(what string, servers int, s Site, clusters float64) {
		u, l := c.Use(s), c.First(s)
		l.Rate *= clusters
		t.row(what, figure(float64(servers)), figure(u.NATSBusy), gigabits(u.NATSLink), limit(l))
	}
	for _, w := range ways(site) {
		line("one cluster, a node reads "+w.gets, 3, w.Site, 1)
	}
	for _, n := range []int{4, 20} {
		line(fmt.Sprintf("%d clusters, a node reads all of its cluster", n), 3*n, site.Sharded(n), float64(n))
	}
	line("4 clusters, a node reads channels of its own", 12, site.Placed().Sharded(4).Placed(), 4)
	for _, leaves := range []int{20, 100} {
		m := c.Mirrored(site, leaves)
		t.row(fmt.Sprintf("mirrors on %d leaf servers, a node reads all", leaves), figure(float64(3+leaves)), figure(max(m.Hub.NATSBusy, m.Leaf.NATSBusy)),
			gigabits(max(m.Hub.NATSLink, m.Leaf.NATSLink)), limit(m.Limit))
	}
	return t.String()
}

// stormSite has many connections on a node, and one channel for all.
func stormSite(nodes int) Site {
	s := one(nodes)
	s.Conns, s.Rate = 100_000, 5
	return s
}

func (c *Costs) storms() string {
	t := table{head: []string{"nodes", "how it ends", "clients reconnect", "half reconnected", "99 %", "all", "attempts for each", "SYN packets dropped", "a node's busiest second", "sent again"}}
	for _, nodes := range append([]int{3}, sizes...) {
		for _, s := range []Storm{
			{Client: BackOff}, {Client: BackOff, TLS: true}, {Client: Naive}, {Client: Naive, TLS: true}, {Client: BackOff, TLS: true, Drain: 5 * time.Second},
		} {
			s.Site, s.Detect, s.Backlog, s.Seed = stormSite(nodes), 2*time.Second, 4096, 1
			o := c.Run(s)
			how, end := s.Client.Name, "crash"
			if s.TLS {
				how += ", TLS"
			}
			if s.Drain > 0 {
				end = "drain, " + fmt.Sprintf("%.0f s", s.Drain.Seconds())
			}
			t.row(figure(float64(nodes)), end, how, span(o.Half), span(o.P99), span(o.All), figure(float64(o.Tries)/float64(o.Clients)),
				figure(float64(o.Dropped)), percent(o.Peak), bytes(o.Missed))
		}
	}
	return t.String()
}

// starts is all nodes that start at one time, each of which reads the history.
func (c *Costs) starts() string {
	const history = 8 << 20 // --retain.
	t := table{head: []string{"nodes", "out of NATS", "busy: network of each NATS server", "its cores", "cores of each node"}}
	for _, n := range sizes {
		s := one(n)
		messages := history / s.Size
		all := float64(n) * messages
		out := all * (s.Size + c.DeliverBytes + c.R3.Cross.At(s.Size)) / 3
		cpu := all * c.R3.BusyDeliver.At(s.Size) / 3
		t.row(figure(float64(n)), bytes(3*out), span(duration(8*wire*out/s.NATS.Link)), span(duration(seconds(cpu)/s.NATS.Cores)),
			span(duration(seconds(messages*c.BusyMessage.At(s.Size))/s.Node.Cores)))
	}
	return t.String()
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// Report returns a table with the load of one site, for which Check must return nil.
func (c *Costs) Report(s Site) string {
	u := c.Use(s)
	t := table{head: []string{"", "each NATS server", "each node"}}
	t.row("cores, light load", figure(u.NATSCores), figure(u.NodeCores))
	t.row("cores, saturated (a node: without deliveries)", figure(u.NATSBusy), figure(u.NodeBusy))
	t.row("Gbit/s out", gigabits(u.NATSLink), gigabits(u.NodeLink))
	t.row("Gbit/s in, from NATS", "", gigabits(u.NodeIn))
	t.row("memory", bytes(u.NATSMemory), bytes(u.NodeMemory))
	t.row("time to send a message to the receivers of a node", "", span(duration(u.Pass)))
	return fmt.Sprintf("%s\nlight load up to %s\nthe first limit %s\n", t.String(), limit(c.Easy(s)), limit(c.First(s)))
}
