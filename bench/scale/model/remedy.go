package model

// Sharded returns one part of a site whose channels are spread over a number of independent clusters. Each has its own
// nodes, stream and NATS servers.
func (s Site) Sharded(clusters int) Site {
	n := float64(clusters)
	part := s
	part.Nodes = max(1, s.Nodes/clusters)
	part.Rate, part.Channels = s.Rate/n, s.Channels/n
	return part
}

// Placed returns the same site with a load balancer that sends all connections of a channel to one node.
func (s Site) Placed() Site {
	s.Interest = 1 / float64(s.Nodes)
	return s
}

// Mirrored is the load of a site whose stream is mirrored to a number of leaf servers. Each node reads from the leaf
// server next to it.
type Mirrored struct {
	Hub, Leaf Use
	Limit     Limit // For the whole site.
}

// Mirrored returns the load of a site with mirrors. A mirror reads the stream once, as a node without a filter does.
func (c *Costs) Mirrored(s Site, leaves int) (m Mirrored) {
	hub, leaf := s, s
	hub.Nodes, hub.Interest, hub.Presence = leaves, 1, 0
	leaf.Nodes, leaf.Replicas, leaf.Interest = max(1, s.Nodes/leaves), 1, s.Share()
	m.Hub, m.Leaf = c.Use(hub), c.Use(leaf)
	// A hub has no nodes, so only its NATS server counts.
	hubOnly := func(u Use) map[string]float64 {
		all := hub.limits(u)
		delete(all, "CPU of a node")
		delete(all, "network of nodes")
		delete(all, "network to nodes")
		return all
	}
	m.Limit = c.first(hub, hubOnly, (*Site).setRate)
	m.Limit.What += ", hub"
	if l := c.First(leaf); l.Rate < m.Limit.Rate {
		m.Limit = Limit{l.What + ", leaf", l.Rate}
	}
	return m
}
