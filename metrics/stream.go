package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stream is how a server gets on with the stream that the servers of a cluster have in common: cluster.Stats says what is what.
type Stream struct {
	Published, Resent, Lost uint64
	PublishTime             time.Duration

	Waiting, Bytes int
	Oldest         time.Duration

	Delivered, Pending, LeftOut, Rereads uint64

	Channels int
}

var (
	publishTime = desc("cluster_publish_seconds", "How long messages that were published here took until they had their place in the stream.")
	resent      = desc("cluster_resent_total", "Times that a message was sent again because the stream had not answered.")
	lost        = desc("cluster_lost_total", "Messages published here that NATS does not take: larger than it takes, or to a subject that is denied.")
	waiting     = desc("cluster_waiting_messages", "Messages published here that have no place in the stream yet.")
	waitingSize = desc("cluster_waiting_bytes", "Bytes of their payloads.")
	oldest      = desc("cluster_waiting_oldest_seconds", "How long the first of them has waited.")
	position    = desc("cluster_position", "Place of the last message of the stream that came here, of the channels that are read.")
	pending     = desc("cluster_pending_messages", "Messages that NATS had for this server behind the last one that came.")
	leftOut     = desc("cluster_left_out_total", "Messages of the stream that could not be delivered here.")
	rereads     = desc("cluster_rereads_total", "Times that reading the stream began anew because something was wrong.")
	read        = desc("cluster_channels", "Channels that are read one by one; -1 for all.")
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
