// Package metrics serves the metrics of a broadcast server to Prometheus.
//
// It reads broadcast.Stats when it is scraped. Sending messages costs nothing more with it. It does not know how the
// figures are counted, nor what NATS is: package cluster hands in its part.
//
// # Files
//
//   - metrics.go: Handler, and the metrics of every server
//   - channels.go: metrics of single channels, on request
//   - stream.go: metrics of a cluster in the ordered mode
//   - forwarding.go: metrics of a cluster in the fast mode
package metrics
