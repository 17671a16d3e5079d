package metrics

import "github.com/prometheus/client_golang/prometheus"

// Forwarding has the figures of a cluster in the fast mode, in messages since the start. cluster.FastStats has the
// meaning of each.
type Forwarding struct {
	Forwarded, Received uint64
	// DroppedOut counts messages that were not forwarded, DroppedIn messages that were not delivered, by reason.
	DroppedOut, DroppedIn map[string]uint64
}

var (
	forwarded  = desc("cluster_forwarded_total", "Messages published here that were handed to NATS for the other servers.")
	received   = desc("cluster_received_total", "Messages of other servers that were delivered here.")
	droppedOut = desc("cluster_dropped_to_others_total", "Messages published here that other servers do not get, by reason.", "reason")
	droppedIn  = desc("cluster_dropped_from_others_total", "Messages of other servers that were received but not delivered here, by reason.", "reason")
)

func (f Forwarding) collect(counter func(d *prometheus.Desc, v uint64, labels ...string)) {
	counter(forwarded, f.Forwarded)
	counter(received, f.Received)
	for reason, n := range f.DroppedOut {
		counter(droppedOut, n, reason)
	}
	for reason, n := range f.DroppedIn {
		counter(droppedIn, n, reason)
	}
}
