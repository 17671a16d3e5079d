package live

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/crier-ws/crier/metrics"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestFigures: a snapshot has the figures of Stats, most under the same names.
func TestFigures(t *testing.T) {
	var st broadcast.Stats
	fields := reflect.ValueOf(&st).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); {
		case f.CanInt():
			f.SetInt(int64(i + 1))
		case f.CanUint():
			f.SetUint(uint64(i + 1))
		}
	}
	st.OpenByKind, st.Disconnects = map[string]int{"websocket": 1}, map[string]uint64{"lapped": 2}
	got := reflect.ValueOf(figures(&st)).Elem()
	// The snapshot's own: what Stats has not.
	own := map[string]bool{"Time": true, "Started": true, "Version": true, "Node": true, "Cluster": true, "Draining": true, "P50": true, "P99": true, "Slowest": true,
		"Largest": true, "FDs": true, "MaxFDs": true, "Resident": true, "Memory": true}
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		if own[name] {
			continue
		}
		if want := fields.FieldByName(name); !want.IsValid() || !reflect.DeepEqual(got.Field(i).Interface(), want.Interface()) {
			t.Errorf("%s: got %v, want %v", name, got.Field(i), want)
		}
		tag := got.Type().Field(i).Tag.Get("json")
		words := strings.ReplaceAll(tag, "_", "")
		if words = strings.Replace(words, "connections", "conns", 1); !strings.EqualFold(words, name) {
			t.Errorf("%s is called %q", name, tag)
		}
	}
}

// now returns a snapshot of the present.
func now(s *sampler) *snapshot {
	stats := s.srv.Stats()
	return s.snapshot(&stats, time.Now())
}

// scrape is /metrics.
func scrape(srv *broadcast.Server) string {
	w := httptest.NewRecorder()
	metrics.Handler(srv, metrics.Config{Version: "v1", MemoryBytes: 1 << 30}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// named are the figures of a snapshot as /metrics has them. node/live.js of test/clients has the others.
func named(s *snapshot) map[string]any {
	draining := 0
	if s.Draining {
		draining = 1
	}
	return map[string]any{
		"draining": draining, "connections_max": s.MaxConns, "handshakes_in_progress": s.Handshakes, "connections_held": s.Held,
		"worker_queue_length": s.Queued, "workers_busy": s.Busy, "workers": s.Workers, "log_bytes": s.LogBytes, "channels": s.Channels,
		"messages_total": s.Messages, "deliveries_total": s.Deliveries, "message_bytes_total": s.BytesIn, "written_bytes_total": s.BytesOut,
		"holds_total": s.Holds, "rate_holds_total": s.RateHolds, "skips_total": s.Skips, "slowest_connection_bytes": s.SlowestBytes,
		`connections{kind="websocket"}`: s.OpenByKind["websocket"], `connections{kind="events"}`: s.OpenByKind["events"],
	}
}

// TestAgreesWithMetrics: a snapshot agrees with /metrics, for a busy server and while it shuts down.
func TestAgreesWithMetrics(t *testing.T) {
	hooked, release := make(chan struct{}), make(chan struct{})
	srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{
		Workers: 1, MaxConns: 100, Rate: 0.001, Burst: 2, CloseTimeout: time.Second,
		OnMessage: func(_ *broadcast.Conn, m broadcast.Message) (broadcast.Message, bool) {
			hooked <- struct{}{}
			<-release
			return m, true
		},
	})
	conns := make([]net.Conn, 4)
	for i := range conns {
		conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	send := func(i int) {
		t.Helper()
		if err := wsutil.WriteClientText(conns[i], []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	<-hooked
	for i := 1; i < len(conns); i++ {
		send(i)
	}
	criertest.Eventually(t, "those who wait", func() bool { return srv.Stats().Queued == 3 })
	s := newSampler(srv, Config{Version: "v1", MemoryBytes: 1 << 30}, time.Now())
	check := func(wants ...string) {
		t.Helper()
		var wrong []string
		defer func() {
			if t.Failed() {
				t.Log(strings.Join(wrong, "\n"))
			}
		}()
		criertest.Eventually(t, "the snapshot and /metrics to agree", func() bool {
			snap, text := now(s), scrape(srv)
			wrong = nil
			for name, v := range named(snap) {
				if line := fmt.Sprintf("crier_%s %d", name, v); !strings.Contains(text, "\n"+line+"\n") {
					wrong = append(wrong, "/metrics does not say "+line)
				}
			}
			for _, want := range wants {
				if !strings.Contains(text, "\ncrier_"+want+"\n") {
					wrong = append(wrong, "there is no "+want)
				}
			}
			return len(wrong) == 0
		})
	}
	check("workers_busy 1", "worker_queue_length 3", `connections{kind="websocket"} 4`, "workers 1", "connections_max 100", "draining 0")
	go func() {
		for range hooked { // Ends with the test.
		}
	}()
	defer close(hooked)
	close(release)
	for range 4 {
		send(0) // More than it may.
	}
	check("rate_holds_total 1", "workers_busy 0")
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	go func() { ended <- srv.Shutdown(ctx) }() // Awaited below.
	check("draining 1")
	for _, conn := range conns {
		conn.Close()
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestProcess: the figures of the process agree with those of /metrics.
func TestProcess(t *testing.T) {
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{})
	s := newSampler(srv, Config{}, time.Now())
	for name, of := range map[string]func(*snapshot) int64{
		"open_fds":              func(s *snapshot) int64 { return s.FDs },
		"max_fds":               func(s *snapshot) int64 { return s.MaxFDs },
		"resident_memory_bytes": func(s *snapshot) int64 { return s.Resident },
	} {
		criertest.Eventually(t, name, func() bool { // Memory grows meanwhile, now and then.
			v := strconv.FormatFloat(float64(of(now(s))), 'g', -1, 64)
			return strings.Contains(scrape(srv), "\nprocess_"+name+" "+v+"\n")
		})
	}
}

// TestChannels: a snapshot has the server's channels with their rates, over the last ten seconds.
func TestChannels(t *testing.T) {
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	for n := range 30 {
		if _, err := srv.PublishTo(t.Context(), []string{"one", "two", "two"}[n%3], broadcast.Message{Kind: broadcast.Text}); err != nil {
			t.Fatal(err)
		}
	}
	criertest.Eventually(t, "the rates", func() bool {
		s := newSampler(srv, Config{}, time.Now())
		got := now(s).Largest
		for i, info := range srv.Channels("", "", mostChannels) {
			if got[i] != (channel{info.Name, 0, info.Rate}) {
				return false
			}
		}
		return len(got) == 3 && got[1].Rate > 0 && got[2].Rate == 2*got[1].Rate // The first has no name.
	})
}
