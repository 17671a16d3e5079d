package metrics

import (
	"github.com/crier-ws/crier/broadcast"
	"github.com/prometheus/client_golang/prometheus"
)

// channelCollector is a prometheus.Collector of the channels with the most connections.
type channelCollector struct {
	srv     *broadcast.Server
	cluster Cluster // Or nil.
	most    int     // How many channels.
}

var (
	channelConns = desc("channel_connections", "Open connections of the channels with the most.", "channel")
	channelAll   = desc("channel_cluster_connections", "Open connections of these channels at all servers of the cluster.", "channel")
	channelRate  = desc("channel_messages_per_second", "Messages published lately: in the last ten seconds, or over a longer time for quiet channels.", "channel")
)

// Describe is prometheus.Collector's, and describes nothing.
func (c *channelCollector) Describe(chan<- *prometheus.Desc) {}

// Collect is prometheus.Collector's.
func (c *channelCollector) Collect(out chan<- prometheus.Metric) {
	for _, ch := range c.srv.Largest(c.most) {
		out <- prometheus.MustNewConstMetric(channelConns, prometheus.GaugeValue, float64(ch.Connections), ch.Name)
		if c.cluster != nil {
			all := ch.Connections + c.cluster.Elsewhere(ch.Name)
			out <- prometheus.MustNewConstMetric(channelAll, prometheus.GaugeValue, float64(all), ch.Name)
		}
		out <- prometheus.MustNewConstMetric(channelRate, prometheus.GaugeValue, ch.Rate, ch.Name)
	}
}
