package metrics

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/docfiles"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// TestDocFiles: doc.go names every file of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }

// sample is a line of the text format of Prometheus: a name, labels and a value.
var sample = regexp.MustCompile(`(?m)^(\w+)(?:\{\w+="([^"]*)".*\})? (\S+)$`)

// series has values by the name of a metric, and by NAME{VALUE} with the value of its first label.
type series map[string]float64

// scrape returns what Prometheus gets, parsed and as text.
func scrape(t *testing.T, srv *broadcast.Server, query string) (got series, text string) {
	t.Helper()
	return scrapeWith(t, srv, Config{Version: "v1", MemoryBytes: 5 << 20}, query)
}

func scrapeWith(t *testing.T, srv *broadcast.Server, cfg Config, query string) (got series, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(srv, cfg).ServeHTTP(w, httptest.NewRequest("GET", "/metrics"+query, nil))
	if w.Code != 200 {
		t.Fatalf("got %d: %s", w.Code, w.Body)
	}
	got = make(series)
	for _, m := range sample.FindAllStringSubmatch(w.Body.String(), -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatalf("%q: %v", m[0], err)
		}
		got[m[1]], got[m[1]+"{"+m[2]+"}"] = value, value
	}
	return got, w.Body.String()
}

// value returns the value of a metric: of the series whose first label has the value label, unless that is empty.
func value(t *testing.T, got series, name, label string) float64 {
	t.Helper()
	if label != "" {
		name += "{" + label + "}"
	}
	v, ok := got[name]
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return v
}

func TestMetrics(t *testing.T) {
	srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{MaxConns: 3, CloseTimeout: 200 * time.Millisecond})
	dial := func(protocols ...string) io.ReadWriter {
		conn, br, _, err := ws.Dialer{Protocols: protocols}.Dial(t.Context(), "ws://"+addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if br != nil {
			return struct {
				io.Reader
				io.Writer
			}{br, conn}
		}
		return conn
	}
	clients := []io.ReadWriter{dial(), dial(), dial("crier.v1")}
	if _, _, _, err := ws.Dial(t.Context(), "ws://"+addr.String()); err == nil {
		t.Fatal("the fourth connection was accepted, want it refused")
	}
	if _, err := wsutil.ReadServerText(clients[2]); err != nil { // The line with its position.
		t.Fatal(err)
	}
	const messages = 10
	for range messages {
		if err := srv.Publish(context.Background(), broadcast.Message{Kind: broadcast.Text, Payload: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			if _, err := wsutil.ReadServerText(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := wsutil.WriteClientMessage(clients[0], ws.OpClose, ws.NewCloseFrameBody(1000, "")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for srv.Stats().Disconnects["peer-closed"] == 0 || srv.Stats().Deliveries < 3*messages {
		if time.Now().After(deadline) {
			t.Fatalf("got %+v", srv.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	all, text := scrape(t, srv, "")
	if strings.Contains(text, "crier_cluster_") {
		t.Error("there are metrics of a cluster, want none")
	}
	for _, tt := range []struct {
		name, label string
		want        float64
	}{
		{"crier_build_info", "v1", 1},
		{"crier_draining", "", 0},
		{"crier_memory_contract_bytes", "", 5 << 20},
		{"crier_connections", "websocket", 1},
		{"crier_connections", "crier.v1", 1},
		{"crier_connections", "events", 0},
		{"crier_connections_max", "", 3},
		{"crier_handshakes_total", "open", 3},
		{"crier_handshakes_total", "503", 1},
		{"crier_handshakes_total", "401", 0},
		{"crier_disconnects_total", "peer-closed", 1},
		{"crier_disconnects_total", "slow", 0},
		{"crier_messages_total", "", messages},
		{"crier_message_bytes_total", "", 5 * messages},
		{"crier_deliveries_total", "", 3 * messages},
		{"crier_accepted_total", "", 4},
		{"crier_channels", "", 1},
		{"crier_log_segments", "", 2}, // One for each form.
		{"crier_worker_refusals_total", "", 0},
	} {
		if got := value(t, all, tt.name, tt.label); got != tt.want {
			t.Errorf("%s{%s}: got %v, want %v", tt.name, tt.label, got, tt.want)
		}
	}
	if lag := value(t, all, "crier_shard_lag_seconds", ""); lag <= 0 || lag > 20 {
		t.Errorf("the shards came by %v s ago", lag)
	}
	for _, name := range []string{"crier_pass_duration_seconds", "crier_delivery_latency_seconds"} {
		count, sum := value(t, all, name+"_count", ""), value(t, all, name+"_sum", "")
		if last := value(t, all, name+"_bucket", "+Inf"); count == 0 || sum <= 0 || last != count {
			t.Errorf("%s: got %v with the sum %v, and %v in the last bucket", name, count, sum, last)
		}
	}
	for _, name := range []string{"process_open_fds", "process_max_fds", "process_resident_memory_bytes", "go_goroutines"} {
		if value(t, all, name, "") <= 0 {
			t.Errorf("%s is not there", name)
		}
	}
	lint(t, text)
}

func lint(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "crier_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestStream: each figure of the stream has its own metric.
func TestStream(t *testing.T) {
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{})
	var unready error
	cfg := Config{Ready: func() error { return unready }, Stream: func() Stream {
		return Stream{
			Published: 4, PublishTime: 500 * time.Millisecond, Resent: 2, Lost: 3, Waiting: 5, Bytes: 6, Oldest: 1500 * time.Millisecond,
			Delivered: 8, Pending: 9, LeftOut: 10, Rereads: 11, Channels: -1,
		}
	}}
	_, text := scrapeWith(t, srv, cfg, "")
	for _, want := range []string{
		"ready 1", "publish_seconds_sum 0.5", "publish_seconds_count 4", "resent_total 2", "lost_total 3", "waiting_messages 5", "waiting_bytes 6",
		"waiting_oldest_seconds 1.5", "position 8", "pending_messages 9", "left_out_total 10", "rereads_total 11", "channels -1",
	} {
		if !strings.Contains(text, "\ncrier_cluster_"+want+"\n") {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
	lint(t, text)
	unready = io.EOF
	if _, text := scrapeWith(t, srv, cfg, ""); !strings.Contains(text, "\ncrier_cluster_ready 0\n") {
		t.Errorf("it is not ready: got %s", text)
	}
}

// TestForwarding: each figure of the fast mode has its own metric, and drops have a reason.
func TestForwarding(t *testing.T) {
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{})
	w := httptest.NewRecorder()
	Handler(srv, Config{Forwarding: func() Forwarding {
		return Forwarding{Forwarded: 1, Received: 2, DroppedOut: map[string]uint64{"full": 3, "old": 4}, DroppedIn: map[string]uint64{"full": 5}}
	}}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		"crier_cluster_forwarded_total 1", "crier_cluster_received_total 2", `crier_cluster_dropped_to_others_total{reason="full"} 3`,
		`crier_cluster_dropped_to_others_total{reason="old"} 4`, `crier_cluster_dropped_from_others_total{reason="full"} 5`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("there is no %s in %s", want, w.Body)
		}
	}
}

// TestChannels: channels have metrics only on request, and no more of them than requested.
func TestChannels(t *testing.T) {
	srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	for path, n := range map[string]int{"news": 3, "sport": 2, "quo%22te": 1} {
		for range n {
			conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr.String()+"/"+path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
	}
	if _, text := scrape(t, srv, ""); strings.Contains(text, "news") || strings.Contains(text, "crier_channel_") {
		t.Errorf("without being asked for: got %s", text)
	}
	all, text := scrape(t, srv, "?channels=2")
	for name, want := range map[string]float64{"news": 3, "sport": 2} {
		if got := value(t, all, "crier_channel_connections", name); got != want {
			t.Errorf("%s: got %v connections, want %v", name, got, want)
		}
		value(t, all, "crier_channel_messages_per_second", name)
	}
	if value(t, all, "crier_connections", ""); strings.Contains(text, "quo") {
		t.Errorf("got %s", text)
	}
	for _, n := range []string{"0", "-1", "1001", "x", "1e3"} {
		w := httptest.NewRecorder()
		Handler(srv, Config{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics?channels="+n, nil))
		if w.Code != 400 || !strings.Contains(w.Body.String(), "want 1 to 1000") {
			t.Errorf("channels=%s: got %d %s", n, w.Code, w.Body)
		}
	}
}

// fakeCluster is a Cluster with made-up figures.
type fakeCluster struct{}

func (fakeCluster) Servers() int     { return 3 }
func (fakeCluster) Connections() int { return 100 }
func (fakeCluster) Unlisted() int    { return 4 }

func (fakeCluster) Elsewhere(channel string) int { return len(channel) }

// TestCluster: a cluster has metrics, those of single channels only on request.
func TestCluster(t *testing.T) {
	srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr.String()+"/news")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, text := scrape(t, srv, "?channels=5"); strings.Contains(text, "cluster") {
		t.Errorf("without a cluster: got %s", text)
	}
	cfg := Config{Cluster: fakeCluster{}}
	if _, text := scrapeWith(t, srv, cfg, ""); strings.Contains(text, "crier_channel_") {
		t.Errorf("without being asked for: got %s", text)
	}
	all, text := scrapeWith(t, srv, cfg, "?channels=5")
	for name, want := range map[string]float64{
		"crier_cluster_nodes": 3, "crier_cluster_connections": 100, "crier_cluster_connections_unlisted": 4,
	} {
		if got := value(t, all, name, ""); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if got := value(t, all, "crier_channel_cluster_connections", "news"); got != 5 {
		t.Errorf("got %v connections of the channel, want 5", got)
	}
	lint(t, text)
}
