package live

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/criertest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestHistoryRing: the newest samples are kept in order. Samples between which no connection ended share a map.
func TestHistoryRing(t *testing.T) {
	var h history
	for _, n := range []int{0, 1, mostSamples, mostSamples + 1, 3*mostSamples + 7} {
		h = history{}
		for i := range n {
			h.add(sample{Time: int64(i), Disconnects: map[string]uint64{"reset": uint64(i / 10)}})
		}
		all := h.all()
		if want := min(n, mostSamples); len(all) != want {
			t.Fatalf("%d samples: got %d, want %d", n, len(all), want)
		}
		maps := make(map[uintptr]bool)
		for i, s := range all {
			if want := int64(n - len(all) + i); s.Time != want || s.Disconnects["reset"] != uint64(want/10) {
				t.Fatalf("%d samples: got %+v at %d, want %d", n, s, i, want)
			}
			maps[reflect.ValueOf(s.Disconnects).Pointer()] = true
		}
		if most := len(all)/10 + 2; len(maps) > most {
			t.Errorf("%d samples: got %d maps, want %d at most", n, len(maps), most)
		}
	}
}

// get returns the answer to GET /v1/live/history.
func get(t *testing.T, site string) (body struct {
	Started int64
	Samples []sample
}) {
	t.Helper()
	resp, err := http.Get(site + "/v1/live/history")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body
}

// TestHistoryBeforeViewers: the history has samples from before the page was opened, with the times and names of
// snapshots.
func TestHistoryBeforeViewers(t *testing.T) {
	l, site, addr, srv := start(t, Config{Every: every})
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr+"/news")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 3 {
		if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := wsutil.ReadServerText(conn); err != nil {
			t.Fatal(err)
		}
	}
	l.ticks(t, 2)
	conn.Close()
	criertest.Eventually(t, "the disconnect", func() bool { return len(srv.Stats().Disconnects) == 1 })
	l.ticks(t, 2)

	body := get(t, site)
	last, most, latency := body.Samples[len(body.Samples)-1], 0, false
	for i, s := range body.Samples {
		most = max(most, s.Open)
		latency = latency || s.P99 != nil && *s.P99 > 0
		if i > 0 && s.Time < body.Samples[i-1].Time {
			t.Errorf("sample %d is of %d, after one of %d", i, s.Time, body.Samples[i-1].Time)
		}
	}
	if last.Messages != 3 || last.Deliveries != 3 || len(last.Disconnects) != 1 || most != 1 || !latency {
		t.Errorf("got %+v, at most %d connections, latency %v", last, most, latency)
	}
	v := look(t, site)
	for s := v.next(); ; s = v.next() {
		if s.Started != body.Started || s.Time < last.Time {
			t.Fatalf("got a snapshot of %d, %d; the history is of %d, and ends at %d", s.Started, s.Time, body.Started, last.Time)
		}
		// A snapshot of a tick is a sample, too.
		for _, old := range get(t, site).Samples {
			if old.Time == s.Time && old.Messages == s.Messages && reflect.DeepEqual(old.Disconnects, s.Disconnects) {
				return
			}
		}
	}
}

// BenchmarkSample is the cost of one second while nobody looks.
func BenchmarkSample(b *testing.B) {
	srv, err := broadcast.New(broadcast.DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Shutdown(b.Context())
	s := newSampler(srv, Config{}, time.Now())
	var h history
	b.ReportAllocs()
	for b.Loop() {
		stats := srv.Stats()
		h.add(s.tick(&stats, time.Now()))
	}
}
