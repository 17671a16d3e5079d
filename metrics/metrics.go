// Package metrics tells Prometheus of a broadcast server. It reads broadcast.Stats when it is
// asked, so that nothing is counted for it while messages go out.
package metrics

import (
	"net/http"
	"strconv"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what a handler is made with.
type Config struct {
	// Version is the program's.
	Version string
	// MemoryBytes is what the process may take up, or 0: then that is not told.
	MemoryBytes int64
	// LogDropped, if set, returns how many lines of the program's log could not be written.
	LogDropped func() uint64
	// Ready, if set, says what keeps this server from being a full part of its cluster, or nil. It must not block.
	Ready func() error
	// Stream, if set, says how it gets on with the cluster's stream, and Between what goes between this server and the others
	// where there is no stream. They must not block.
	Stream  func() Stream
	Between func() Between
	// Cluster, if set, knows all servers of the cluster.
	Cluster Cluster
}

// Cluster knows all servers of a cluster: a *presence.Presence. Its methods are called from any goroutine.
type Cluster interface {
	// Servers is how many there are.
	Servers() int
	// Connections is how many they have together.
	Connections() int
	// Unlisted is how many of them are missing in Elsewhere.
	Unlisted() int
	// Elsewhere is how many a channel has at the others.
	Elsewhere(channel string) int
}

// MaxChannels is how many channels a request may ask for.
const MaxChannels = 1000

// Handler answers with the metrics of a server, of the process and of Go's runtime, in the formats
// that Prometheus asks for. Channels are told by their names only if the request asks for the largest N
// with the parameter channels=N. It may be used by any number of goroutines.
func Handler(srv *broadcast.Server, cfg Config) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{srv, cfg},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	plain := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := httpjson.Query(r.URL, "channels", "name[]") // Package promhttp reads the second one.
		if err != nil {
			httpjson.Fail(w, httpjson.BadQuery, "%v", err)
			return
		}
		if !query.Has("channels") {
			plain.ServeHTTP(w, r)
			return
		}
		n, err := strconv.Atoi(query.Get("channels"))
		if err != nil || n < 1 || n > MaxChannels {
			httpjson.Fail(w, httpjson.BadQuery, "channels is %q, want 1 to %d", query.Get("channels"), MaxChannels)
			return
		}
		named := prometheus.NewRegistry()
		named.MustRegister(&channelCollector{srv, cfg.Cluster, n})
		promhttp.HandlerFor(prometheus.Gatherers{registry, named}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}

// channelCollector is a prometheus.Collector of the largest channels.
type channelCollector struct {
	srv     *broadcast.Server
	cluster Cluster // Or nil.
	most    int
}

var (
	channelConns = desc("channel_connections", "Open connections of the channels that have the most.", "channel")
	channelAll   = desc("channel_cluster_connections", "Open connections of these channels at all servers of the cluster.", "channel")
	channelRate  = desc("channel_messages_per_second", "Messages published there lately: in the last ten seconds or, if it has had few, longer.", "channel")
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

// collector is a prometheus.Collector: what it collects is one snapshot.
type collector struct {
	srv *broadcast.Server
	cfg Config
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("crier_"+name, help, labels, nil)
}

var (
	buildInfo   = desc("build_info", "1, with the version of the program.", "version")
	draining    = desc("draining", "1 while the server shuts down.")
	memory      = desc("memory_contract_bytes", "What the process may take up (--memory).")
	connections = desc("connections", "Open connections, by what they asked for.", "kind")
	maxConns    = desc("connections_max", "Most open connections.")
	ready       = desc("cluster_ready", "1 if the server is a full part of its cluster: if not, /readyz says why.")
	nodes       = desc("cluster_nodes", "Servers in the cluster that are heard of, with this one.")
	clusterAll  = desc("cluster_connections", "Open connections at all of them.")
	unlisted    = desc("cluster_connections_unlisted", "Those of them of which is not known here in which channels they are: it was not said yet, or there is no room.")
	opening     = desc("handshakes_in_progress", "Connections whose handshake is not finished.")
	held        = desc("connections_held", "Connections that are not read because the server is behind.")
	channels    = desc("channels", "Channels that have connections or messages.")
	segments    = desc("log_segments", "Pieces of memory that these messages are in.")
	logBytes    = desc("log_bytes", "What messages take up that were published and may be read yet.")
	slowest     = desc("slowest_connection_bytes", "How far behind the connection is that is furthest behind, of those whose sockets are full.")
	shardLag    = desc("shard_lag_seconds", "How long ago the shard has come by, which writes to its connections, that has not for longest: below 0.2, unless a pass takes longer.")
	workers     = desc("workers", "Goroutines that read and decode.")
	busy        = desc("workers_busy", "Those of them that are not idle.")
	queued      = desc("worker_queue_length", "Connections that wait for one of them.")
	refusals    = desc("worker_refusals_total", "Times that the pool refused a worker its goroutine, which it does not as long as the server runs.")

	accepted    = desc("accepted_total", "TCP connections accepted.")
	handshakes  = desc("handshakes_total", "Handshakes that have ended: open, or refused with an HTTP status, and others.", "result")
	denied      = desc("handshakes_denied_total", "Handshakes refused for want of a token that allows them.")
	disconnects = desc("disconnects_total", "Open connections that have ended, by why.", "reason")
	messages    = desc("messages_total", "Messages published.")
	messageSize = desc("message_bytes_total", "Bytes of payload published.")
	deliveries  = desc("deliveries_total", "Messages handed to the kernel whole, once for each connection.")
	writes      = desc("writes_total", "System calls that wrote messages.")
	written     = desc("written_bytes_total", "Bytes of messages written, with their framing.")
	skips       = desc("skips_total", "Times that a connection was lapped and skipped to the newest message.")
	holds       = desc("holds_total", "Times that a publisher was not read because the server was behind.")
	rateHolds   = desc("rate_holds_total", "Times that a publisher was not read because it was ahead of its rate.")
	pings       = desc("pings_total", "Pings sent.")
	logDropped  = desc("log_lines_dropped_total", "Lines of crier's own log, on standard error, that could not be written.")

	passes  = desc("pass_duration_seconds", "How long a walk took that writes what is new in a channel to a shard's connections.")
	latency = desc("delivery_latency_seconds", "How long after the first of what was new in a channel was published such a walk was over: to the last write.")
)

// Describe is prometheus.Collector's. It describes nothing: then nothing is checked each time.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect is prometheus.Collector's.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	st := c.srv.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(buildInfo, 1, c.cfg.Version)
	gauge(draining, number(c.srv.Draining()))
	if c.cfg.MemoryBytes > 0 {
		gauge(memory, float64(c.cfg.MemoryBytes))
	}
	for kind, n := range st.OpenByKind {
		gauge(connections, float64(n), kind)
	}
	gauge(maxConns, float64(st.MaxConns))
	if c.cfg.Ready != nil {
		gauge(ready, number(c.cfg.Ready() == nil))
	}
	if cluster := c.cfg.Cluster; cluster != nil {
		gauge(nodes, float64(cluster.Servers()))
		gauge(clusterAll, float64(cluster.Connections()))
		gauge(unlisted, float64(cluster.Unlisted()))
	}
	if c.cfg.LogDropped != nil {
		counter(logDropped, c.cfg.LogDropped())
	}
	gauge(opening, float64(st.Handshakes))
	gauge(held, float64(st.Held))
	gauge(channels, float64(st.Channels))
	gauge(logBytes, float64(st.LogBytes))
	gauge(segments, float64(st.Segments))
	gauge(slowest, float64(st.SlowestBytes))
	gauge(shardLag, st.ShardLag.Seconds())
	gauge(workers, float64(st.Workers))
	gauge(busy, float64(st.Busy))
	gauge(queued, float64(st.Queued))

	counter(refusals, st.Refusals)
	collectHandshakes(&st, counter)
	counter(denied, st.Denied)
	for _, reason := range broadcast.Reasons() {
		counter(disconnects, st.Disconnects[reason.String()], reason.String())
	}
	counter(messages, st.Messages)
	counter(messageSize, st.BytesIn)
	counter(deliveries, st.Deliveries)
	counter(writes, st.Writes)
	counter(written, st.BytesOut)
	counter(skips, st.Skips)
	counter(holds, st.Holds)
	counter(rateHolds, st.RateHolds)
	counter(pings, st.Pings)
	if c.cfg.Stream != nil {
		c.cfg.Stream().collect(out, gauge, counter)
	}
	if c.cfg.Between != nil {
		c.cfg.Between().collect(counter)
	}
	out <- histogram(passes, st.Passes)
	out <- histogram(latency, st.Latency)
}

// collectHandshakes counts accepted connections by how their handshakes ended.
func collectHandshakes(st *broadcast.Stats, counter func(d *prometheus.Desc, v uint64, labels ...string)) {
	counter(accepted, st.Accepted)
	counter(handshakes, st.Upgraded, "open")
	for _, status := range statuses {
		counter(handshakes, st.Refused[status], strconv.Itoa(status))
	}
	for status, n := range st.Refused {
		if !known[status] {
			counter(handshakes, n, strconv.Itoa(status))
		}
	}
	counter(handshakes, st.HandshakeTimeouts, "timeout")
	counter(handshakes, st.HandshakeAbandoned, "abandoned")
	counter(handshakes, st.TLS, "tls")
	counter(handshakes, st.Shed, "shed")
	counter(handshakes, st.ShedPerIP, "shed_per_ip")
}

// statuses are those that crier refuses with by itself: they are there from the start, so that
// their rates are. Hooks may have others.
var statuses = []int{400, 401, 403, 404, 405, 426, 429, 431, 500, 503, 505}

var known = func() map[int]bool {
	m := make(map[int]bool)
	for _, s := range statuses {
		m[s] = true
	}
	return m
}()

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// histogram is one in seconds, with its counts added up.
func histogram(d *prometheus.Desc, h broadcast.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64, len(h.Bounds))
	total := uint64(0)
	for i, n := range h.Counts {
		if total += n; i < len(h.Bounds) {
			buckets[h.Bounds[i].Seconds()] = total
		}
	}
	return prometheus.MustNewConstHistogram(d, total, h.Sum.Seconds(), buckets)
}
