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

// Config has the settings of a Handler. The zero value is ready to use.
type Config struct {
	// Version is the version of the program.
	Version string
	// MemoryBytes is the limit of the process's memory. With 0, there is no metric for it.
	MemoryBytes int64
	// LogDropped, if set, returns how many lines of the program's log could not be written. It must not block.
	LogDropped func() uint64
	// Ready, if set, returns nil if this server is a full member of its cluster, and the reason if it is not. It must
	// not block.
	Ready func() error
	// Stream, if set, returns the figures of the cluster's stream, in the ordered mode. It must not block.
	Stream func() Stream
	// Forwarding, if set, returns the figures of the messages between servers, in the fast mode. It must not block.
	Forwarding func() Forwarding
	// Cluster, if set, knows all servers of the cluster.
	Cluster Cluster
}

// Cluster knows all servers of a cluster: a *presence.Presence. Its methods must be safe for concurrent use and must
// not block.
type Cluster interface {
	// Servers returns how many servers there are, including this one.
	Servers() int
	// Connections returns how many connections all servers have.
	Connections() int
	// Unlisted returns how many connections of other servers Elsewhere does not count, because their channels are
	// unknown.
	Unlisted() int
	// Elsewhere returns how many connections of a channel the other servers have.
	Elsewhere(channel string) int
}

// MaxChannels is the largest value of the parameter channels.
const MaxChannels = 1000

// Handler returns a handler that serves the metrics of a server, of the process and of Go's runtime, in the formats
// that Prometheus asks for. Metrics of single channels are served only for a request with the parameter channels=N,
// from 1 to MaxChannels: those of the N channels with the most connections. A request with another parameter gets
// 400. The handler is safe for concurrent use.
func Handler(srv *broadcast.Server, cfg Config) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{srv, cfg},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	plain := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := httpjson.Query(r.URL, "channels", "name[]") // Package promhttp reads name[].
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

// collector is a prometheus.Collector. Each collection is one snapshot.
type collector struct {
	srv *broadcast.Server
	cfg Config
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("crier_"+name, help, labels, nil)
}

var (
	buildInfo   = desc("build_info", "1, labelled with the version of the program.", "version")
	draining    = desc("draining", "1 while the server shuts down.")
	memory      = desc("memory_contract_bytes", "Limit of the process's memory (--memory).")
	connections = desc("connections", "Open connections, by the kind of client.", "kind")
	maxConns    = desc("connections_max", "Most open connections.")
	ready       = desc("cluster_ready", "1 if the server is a full member of its cluster; if it is 0, /readyz says why.")
	nodes       = desc("cluster_nodes", "Servers of the cluster that this one hears of, including itself.")
	clusterAll  = desc("cluster_connections", "Open connections at all servers of the cluster.")
	unlisted    = desc("cluster_connections_unlisted", "Open connections of other servers whose channels are unknown here: not reported yet, or without room to store them.")
	opening     = desc("handshakes_in_progress", "Connections whose handshake is not finished.")
	held        = desc("connections_held", "Connections that are not read because the server is behind.")
	channels    = desc("channels", "Channels that have connections or messages.")
	segments    = desc("log_segments", "Segments of memory that hold retained messages.")
	logBytes    = desc("log_bytes", "Memory of retained messages.")
	slowest     = desc("slowest_connection_bytes", "Largest lag of a connection whose socket is full.")
	shardLag    = desc("shard_lag_seconds", "Time since the slowest shard finished its last round of writes: below 0.2 unless a pass takes longer.")
	workers     = desc("workers", "Goroutines that read and decode.")
	busy        = desc("workers_busy", "Workers that are not idle.")
	queued      = desc("worker_queue_length", "Connections that wait for a worker.")
	refusals    = desc("worker_refusals_total", "Times that the pool refused a worker its goroutine; it does so only while the server shuts down.")

	accepted    = desc("accepted_total", "TCP connections accepted.")
	handshakes  = desc("handshakes_total", "Finished handshakes by result: open, an HTTP status, or why there was no answer.", "result")
	denied      = desc("handshakes_denied_total", "Handshakes refused because no token allows them.")
	disconnects = desc("disconnects_total", "Open connections that have ended, by reason.", "reason")
	messages    = desc("messages_total", "Messages published.")
	messageSize = desc("message_bytes_total", "Bytes of payload published.")
	deliveries  = desc("deliveries_total", "Messages written whole to sockets, counted once for each connection.")
	writes      = desc("writes_total", "System calls that wrote messages.")
	written     = desc("written_bytes_total", "Bytes of messages written, including their framing.")
	skips       = desc("skips_total", "Times that a connection was lapped and skipped to the newest message.")
	holds       = desc("holds_total", "Times that a publisher was not read because the server was behind.")
	rateHolds   = desc("rate_holds_total", "Times that a publisher was not read because it was over its rate.")
	pings       = desc("pings_total", "Pings sent.")
	logDropped  = desc("log_lines_dropped_total", "Lines of crier's own log, on standard error, that could not be written.")

	passes  = desc("pass_duration_seconds", "Duration of a pass, which writes the new messages of a channel to the connections of a shard.")
	latency = desc("delivery_latency_seconds", "Time from the publishing of the first new message to the end of the pass, that is to the last write.")
)

// Describe is prometheus.Collector's. It describes nothing, so that collections are not checked against descriptions.
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
	if c.cfg.Forwarding != nil {
		c.cfg.Forwarding().collect(counter)
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

// statuses are the HTTP statuses with which crier itself refuses. Their series exist from the start, so that rates
// can be computed. Hooks may refuse with others.
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

// histogram returns h with bounds in seconds and cumulative counts.
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
