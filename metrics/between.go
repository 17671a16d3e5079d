package metrics

import "github.com/prometheus/client_golang/prometheus"

// Between is what goes between servers of a cluster in the fast mode, in messages since the start.
type Between struct {
	Forwarded, Received uint64
	// DroppedOut and DroppedIn are those that did not get to others, and from them, by why.
	DroppedOut, DroppedIn map[string]uint64
}

var (
	forwarded  = desc("cluster_forwarded_total", "Messages published here that were handed to NATS for the other servers.")
	received   = desc("cluster_received_total", "Messages of other servers that were delivered here.")
	droppedOut = desc("cluster_dropped_to_others_total", "Messages published here that other servers do not get, by why.", "reason")
	droppedIn  = desc("cluster_dropped_from_others_total", "Messages of other servers that came and were not delivered here, by why.", "reason")
)

func (b Between) collect(counter func(d *prometheus.Desc, v uint64, labels ...string)) {
	counter(forwarded, b.Forwarded)
	counter(received, b.Received)
	for reason, n := range b.DroppedOut {
		counter(droppedOut, n, reason)
	}
	for reason, n := range b.DroppedIn {
		counter(droppedIn, n, reason)
	}
}
