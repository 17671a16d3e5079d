package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stream has the figures of a cluster's stream, as this server sees it. cluster.OrderedStats has the meaning of each.
type Stream struct {
	Published, Resent, Lost uint64
	PublishTime             time.Duration

	Waiting, Bytes int
	Oldest         time.Duration

	Delivered, Pending, LeftOut, Rereads uint64

	Channels int
}

var (
	publishTime = desc("cluster_publish_seconds", "Time that messages published here took to get their place in the stream.")
	resent      = desc("cluster_resent_total", "Times that a message was sent again because the stream had not answered.")
	lost        = desc("cluster_lost_total", "Messages published here that NATS refused: too large, or to a subject that its permissions deny.")
	waiting     = desc("cluster_waiting_messages", "Messages published here that have no place in the stream yet.")
	waitingSize = desc("cluster_waiting_bytes", "Payload bytes of the messages that have no place in the stream yet.")
	oldest      = desc("cluster_waiting_oldest_seconds", "How long the first message without a place in the stream has waited.")
	position    = desc("cluster_position", "Place in the stream of the last message that was delivered here.")
	pending     = desc("cluster_pending_messages", "Messages of the stream that this server has not received yet.")
	leftOut     = desc("cluster_left_out_total", "Messages of the stream that could not be delivered here.")
	rereads     = desc("cluster_rereads_total", "Times that this server restarted reading the stream after a fault.")
	read        = desc("cluster_channels", "Channels that this server reads one by one; -1 if it reads all.")
)

func (s Stream) collect(out chan<- prometheus.Metric, gauge func(d *prometheus.Desc, v float64, labels ...string), counter func(d *prometheus.Desc, v uint64, labels ...string)) {
	out <- prometheus.MustNewConstSummary(publishTime, s.Published, s.PublishTime.Seconds(), nil)
	counter(resent, s.Resent)
	counter(lost, s.Lost)
	gauge(waiting, float64(s.Waiting))
	gauge(waitingSize, float64(s.Bytes))
	gauge(oldest, s.Oldest.Seconds())
	gauge(position, float64(s.Delivered))
	gauge(pending, float64(s.Pending))
	counter(leftOut, s.LeftOut)
	counter(rereads, s.Rereads)
	gauge(read, float64(s.Channels))
}
