package live

import (
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// Bounds on the lists in a snapshot.
const (
	mostSlowest  = 10
	mostChannels = 20
	// channelsEvery is how often the largest channels are looked for, which visits all of them.
	channelsEvery = 5 * time.Second
)

// snapshot is the state of the server at one moment, and its totals, from which the page derives rates.
type snapshot struct {
	Time     int64  `json:"time"`    // milliseconds: Started plus what has passed since, even if the clock is set
	Started  int64  `json:"started"` // milliseconds since 1970, of New
	Version  string `json:"version"`
	Node     string `json:"node"`
	Draining bool   `json:"draining"`

	Cluster *Cluster `json:"cluster"` // null outside a cluster

	Open       int            `json:"open"`
	OpenByKind map[string]int `json:"open_by_kind"`
	MaxConns   int            `json:"max_connections"`
	Handshakes int            `json:"handshakes"`
	Held       int            `json:"held"`
	Queued     int            `json:"queued"`
	Busy       int            `json:"busy"`
	Workers    int            `json:"workers"`
	LogBytes   int64          `json:"log_bytes"`

	Messages    uint64            `json:"messages"`
	Deliveries  uint64            `json:"deliveries"`
	BytesIn     uint64            `json:"bytes_in"`
	BytesOut    uint64            `json:"bytes_out"`
	Holds       uint64            `json:"holds"`
	RateHolds   uint64            `json:"rate_holds"`
	Skips       uint64            `json:"skips"`
	Disconnects map[string]uint64 `json:"disconnects"`

	// Of the messages since the last tick, in seconds; null if there were none.
	P50 *float64 `json:"p50"`
	P99 *float64 `json:"p99"`

	SlowestBytes uint64 `json:"slowest_bytes"`
	Slowest      []conn `json:"slowest"`

	Channels int       `json:"channels"`
	Largest  []channel `json:"largest"`

	FDs      int64 `json:"fds"` // -1 if counting them takes too long
	MaxFDs   int64 `json:"max_fds"`
	Resident int64 `json:"resident"` // bytes
	Memory   int64 `json:"memory"`   // the bound in bytes, or 0
}

// Cluster is the state of a server's part in a cluster.
type Cluster struct {
	Mode        string `json:"mode"`        // "ordered" or "fast"
	Name        string `json:"name"`        // the stream of the ordered mode, the prefix of subjects in the fast one
	NATS        string `json:"nats"`        // address of the server of NATS; empty while there is no connection
	Problem     string `json:"problem"`     // why this server is not ready; empty if it is
	Servers     int    `json:"servers"`     // known servers, this one included
	Connections int    `json:"connections"` // open connections at all of them
	Waiting     int    `json:"waiting"`     // ordered: messages published here that have no place in the stream yet
	Pending     uint64 `json:"pending"`     // ordered: messages of the stream that have not arrived here
	Dropped     uint64 `json:"dropped"`     // messages lost between this server and the others
}

type conn struct {
	ID      string `json:"id"`
	Remote  string `json:"remote"`
	Channel string `json:"channel"`
	Lag     uint64 `json:"lag"`
}

type channel struct {
	Name        string  `json:"name"`
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate"`
}

// sampler makes samples and snapshots of a server. It is owned by Live.sample.
type sampler struct {
	srv     *broadcast.Server
	cfg     Config
	started time.Time // Of the Live.

	latency   broadcast.Histogram // At the last tick.
	largest   []channel
	looked    time.Time     // When largest was looked for.
	announced chan struct{} // The last Live.first that was closed.
}

func newSampler(srv *broadcast.Server, cfg Config, started time.Time) *sampler {
	return &sampler{srv: srv, cfg: cfg, started: started, latency: srv.Stats().Latency}
}

// time is now in the milliseconds of a snapshot.
func (s *sampler) time(now time.Time) int64 {
	return s.started.UnixMilli() + now.Sub(s.started).Milliseconds()
}

// tick returns a sample for the history. The latencies of the next sample and of the next snapshots begin here.
func (s *sampler) tick(st *broadcast.Stats, now time.Time) sample {
	p99 := quantile(st.Latency.Sub(s.latency), 0.99)
	s.latency = st.Latency
	return sample{
		Time: s.time(now), Open: st.Open, Messages: st.Messages, Deliveries: st.Deliveries,
		P99: p99, SlowestBytes: st.SlowestBytes, Disconnects: st.Disconnects,
	}
}

func (s *sampler) snapshot(st *broadcast.Stats, now time.Time) *snapshot {
	snap := figures(st)
	snap.Time, snap.Started = s.time(now), s.started.UnixMilli()
	snap.Version, snap.Node, snap.Memory = s.cfg.Version, s.cfg.Node, s.cfg.MemoryBytes
	snap.Draining = s.srv.Draining()
	if s.cfg.Cluster != nil {
		cluster := s.cfg.Cluster()
		snap.Cluster = &cluster
	}
	since := st.Latency.Sub(s.latency)
	snap.P50, snap.P99 = quantile(since, 0.5), quantile(since, 0.99)
	for _, c := range s.srv.Slowest(mostSlowest) {
		remote := ""
		if c.Remote.IsValid() {
			remote = c.Remote.String()
		}
		snap.Slowest = append(snap.Slowest, conn{c.ID, remote, c.Channel, c.Lag})
	}
	if s.largest == nil || now.Sub(s.looked) >= channelsEvery {
		s.looked, s.largest = now, []channel{}
		for _, ch := range s.srv.Largest(mostChannels) {
			s.largest = append(s.largest, channel{ch.Name, ch.Connections, ch.Rate})
		}
	}
	snap.Largest = s.largest
	snap.FDs, snap.MaxFDs = openFDs(st.Open)
	snap.Resident = residentBytes()
	return snap
}

// figures returns a snapshot with the figures of Stats.
func figures(st *broadcast.Stats) *snapshot {
	return &snapshot{
		Open: st.Open, OpenByKind: st.OpenByKind, MaxConns: st.MaxConns, Handshakes: st.Handshakes, Held: st.Held,
		Queued: st.Queued, Busy: st.Busy, Workers: st.Workers, LogBytes: st.LogBytes,
		Messages: st.Messages, Deliveries: st.Deliveries, BytesIn: st.BytesIn, BytesOut: st.BytesOut,
		Holds: st.Holds, RateHolds: st.RateHolds, Skips: st.Skips, Disconnects: st.Disconnects,
		SlowestBytes: st.SlowestBytes, Slowest: []conn{}, Channels: st.Channels,
	}
}

// quantile returns a quantile in seconds, or nil if nothing was counted.
func quantile(h broadcast.Histogram, q float64) *float64 {
	d := h.Quantile(q)
	if d == 0 {
		return nil
	}
	v := d.Seconds()
	return &v
}
