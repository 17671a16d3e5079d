package live

import (
	"encoding/json"
	"maps"
	"net/http"
)

// sample is what the graphs of the page need of one moment. The fields mean what those of snapshot do.
type sample struct {
	Time         int64             `json:"time"`
	Open         int               `json:"open"`
	Messages     uint64            `json:"messages"`
	Deliveries   uint64            `json:"deliveries"`
	P99          *float64          `json:"p99"`
	SlowestBytes uint64            `json:"slowest_bytes"`
	Disconnects  map[string]uint64 `json:"disconnects"`
}

// mostSamples is how many samples are kept: five minutes of them, one a second.
const mostSamples = 301

// history is the newest samples: a ring. Once it is full, at is the oldest one.
type history struct {
	samples []sample
	at      int
}

// add adds a sample, in place of the oldest one if the history is full.
func (h *history) add(s sample) {
	if n := len(h.samples); n > 0 {
		// Mostly nobody has left since the last sample: then both share a map.
		if last := h.samples[(h.at+n-1)%n].Disconnects; maps.Equal(last, s.Disconnects) {
			s.Disconnects = last
		}
	}
	if len(h.samples) < mostSamples {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.at] = s
	h.at = (h.at + 1) % mostSamples
}

// all returns the samples, oldest first, in a slice of their own.
func (h *history) all() []sample {
	all := make([]sample, 0, len(h.samples))
	return append(append(all, h.samples[h.at:]...), h.samples[:h.at]...)
}

func (l *Live) record(s sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.add(s)
}

// History answers with the samples of the last minutes as JSON, oldest first. Started tells processes apart, as it
// does in a snapshot.
func (l *Live) History(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	all := l.history.all()
	l.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(struct { // An error means that the client has gone.
		Started int64    `json:"started"`
		Samples []sample `json:"samples"`
	}{l.started.UnixMilli(), all})
}
