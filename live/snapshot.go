package live

import (
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// How much of what there may be much of is in a snapshot.
const (
	mostSlowest  = 10
	mostChannels = 20
	// channelsEvery is how often the largest channels are looked for: all are visited.
	channelsEvery = 5 * time.Second
)

// snapshot is the state of the server at one moment, and its totals. The page makes rates of them.
type snapshot struct {
	Time     int64  `json:"time"`    // in ms: Started and what has passed since, even if the clock is set
	Started  int64  `json:"started"` // in ms, Unix: of the Live
	Version  string `json:"version"`
	Draining bool   `json:"draining"`

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

	// Of the messages since the snapshot before, in seconds; null if there were none.
	P50 *float64 `json:"p50"`
	P99 *float64 `json:"p99"`

	SlowestBytes uint64 `json:"slowest_bytes"`
	Slowest      []conn `json:"slowest"`

	Channels int       `json:"channels"`
	Largest  []channel `json:"largest"`

	FDs      int64 `json:"fds"` // -1 if that takes too long to say
	MaxFDs   int64 `json:"max_fds"`
	Resident int64 `json:"resident"` // bytes
	Memory   int64 `json:"memory"`   // the contract, or 0
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

// sampler makes snapshots, one after the other.
type sampler struct {
	srv     *broadcast.Server
	cfg     Config
	started time.Time // Of the Live.

	latency *broadcast.Histogram // As it was in the snapshot before.
	largest []channel
	looked  time.Time // When largest was looked for.
}

func (s *sampler) snapshot(now time.Time) *snapshot {
	st := s.srv.Stats()
	snap := figures(&st)
	snap.Time, snap.Started = s.started.UnixMilli()+now.Sub(s.started).Milliseconds(), s.started.UnixMilli()
	snap.Version, snap.Draining, snap.Memory = s.cfg.Version, s.srv.Draining(), s.cfg.MemoryBytes
	if s.latency != nil {
		since := st.Latency.Sub(*s.latency)
		snap.P50, snap.P99 = quantile(since, 0.5), quantile(since, 0.99)
	}
	s.latency = &st.Latency
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

// figures are those of Stats in a snapshot.
func figures(st *broadcast.Stats) *snapshot {
	return &snapshot{
		Open: st.Open, OpenByKind: st.OpenByKind, MaxConns: st.MaxConns, Handshakes: st.Handshakes, Held: st.Held,
		Queued: st.Queued, Busy: st.Busy, Workers: st.Workers, LogBytes: st.LogBytes,
		Messages: st.Messages, Deliveries: st.Deliveries, BytesIn: st.BytesIn, BytesOut: st.BytesOut,
		Holds: st.Holds, RateHolds: st.RateHolds, Skips: st.Skips, Disconnects: st.Disconnects,
		SlowestBytes: st.SlowestBytes, Slowest: []conn{}, Channels: st.Channels,
	}
}

// quantile is in seconds, or nil if nothing was counted.
func quantile(h broadcast.Histogram, q float64) *float64 {
	d := h.Quantile(q)
	if d == 0 {
		return nil
	}
	v := d.Seconds()
	return &v
}
