package live

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// every is how often these tests want a snapshot.
const every = 20 * time.Millisecond

// giveUp is how long anything may take. It is no measure.
const giveUp = 30 * time.Second

// start returns a page of a server, and where both are served.
func start(t *testing.T, cfg Config) (l *Live, site, addr string, srv *broadcast.Server) {
	t.Helper()
	srv, at := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true, CloseTimeout: 200 * time.Millisecond})
	l = New(srv, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", l.Page)
	mux.HandleFunc("GET /v1/live", l.Stream)
	mux.HandleFunc("GET /v1/live/history", l.History)
	web := httptest.NewUnstartedServer(mux)
	web.Config.ReadTimeout, web.Config.WriteTimeout = 20*every, 20*every // Streams are to live longer.
	web.Start()
	t.Cleanup(web.Close)
	t.Cleanup(l.Close)
	return l, web.URL, at.String(), srv
}

// viewer is somebody who looks.
type viewer struct {
	t    *testing.T
	resp *http.Response
	body *bufio.Reader
}

func look(t *testing.T, site string) *viewer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: giveUp}
	resp, err := client.Get(site + "/v1/live?last=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &viewer{t, resp, bufio.NewReader(resp.Body)}
}

// event returns the data of the next event of a kind.
func (v *viewer) event(kind string) string {
	v.t.Helper()
	name := ""
	for {
		line, err := v.body.ReadString('\n')
		if err != nil {
			v.t.Fatalf("waiting for an event %q: %v", kind, err)
		}
		line = strings.TrimSuffix(line, "\n")
		if s, ok := strings.CutPrefix(line, "event: "); ok {
			name = s
		}
		if s, ok := strings.CutPrefix(line, "data: "); ok && name == kind {
			return s
		}
		if line == "" {
			name = ""
		}
	}
}

func (v *viewer) next() (s snapshot) {
	v.t.Helper()
	if err := json.Unmarshal([]byte(v.event("")), &s); err != nil {
		v.t.Fatal(err)
	}
	return s
}

// TestStream: snapshots agree with Stats. The stream outlasts the write timeout of other answers. A late viewer gets the
// newest snapshot at once.
func TestStream(t *testing.T) {
	l, site, addr, srv := start(t, Config{Version: "v1", MemoryBytes: 1 << 30, Every: every})
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr+"/news")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(giveUp))
	criertest.Eventually(t, "the connection", func() bool { return srv.Stats().Open == 1 })
	v := look(t, site)
	if got := v.resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type: got %q", got)
	}
	first := v.next()
	if first.Open != 1 || first.OpenByKind["websocket"] != 1 || first.Version != "v1" || first.Memory != 1<<30 || first.Draining ||
		first.FDs < 3 || first.MaxFDs < first.FDs || first.Resident < 1<<20 || first.P99 != nil || first.Workers == 0 {
		t.Errorf("the first: got %+v", first)
	}
	if len(first.Largest) != 2 || first.Largest[0] != (channel{Name: "news", Connections: 1}) {
		t.Errorf("channels: got %+v", first.Largest)
	}
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := wsutil.ReadServerText(conn); err != nil {
		t.Fatal(err)
	}
	sawLatency := false
	for s := first; s.Messages != 1 || s.Deliveries != 1 || !sawLatency; {
		s = v.next()
		sawLatency = sawLatency || s.P99 != nil && s.P50 != nil && *s.P50 > 0 && *s.P99 >= *s.P50
	}
	for range 50 { // Longer than the timeouts.
		v.next()
	}
	late := look(t, site)
	if s := late.next(); s.Messages != 1 || s.Time < first.Time {
		t.Errorf("who comes late: got %+v", s)
	}
	l.Close()
	if got := v.event("close"); got != "1001 server is shutting down" {
		t.Errorf("at the end: got %q", got)
	}
	if _, err := io.Copy(io.Discard, v.body); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if again := look(t, site); again.resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after Close: got %s", again.resp.Status)
	}
}

// TestSlowestListed: a client that does not read is in the snapshot, with the ID that Disconnect takes.
func TestSlowestListed(t *testing.T) {
	_, site, addr, srv := start(t, Config{Every: every})
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr+"/news")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	big := broadcast.Message{Kind: broadcast.Text, Payload: []byte(strings.Repeat("x", 1<<20))}
	for range 8 {
		if _, err := srv.PublishTo(t.Context(), "news", big); err != nil {
			t.Fatal(err)
		}
	}
	v := look(t, site)
	s := v.next()
	for ; len(s.Slowest) == 0 || s.SlowestBytes != s.Slowest[0].Lag; s = v.next() {
	}
	c := s.Slowest[0]
	if c.Remote != conn.LocalAddr().String() || c.Channel != "news" || len(s.Slowest) != 1 {
		t.Errorf("got %+v, want %s", s.Slowest, conn.LocalAddr())
	}
	if !srv.Disconnect(c.ID, 4000, "enough") {
		t.Errorf("there is no %q", c.ID)
	}
	for s = v.next(); s.Disconnects["disconnected"] != 1 || len(s.Slowest) != 0; s = v.next() {
	}
}

// small is the server that viewers are connected to.
func (l *Live) small() *broadcast.Server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inner
}

// ticks waits until that many more samples are in the history.
func (l *Live) ticks(t *testing.T, n int) {
	t.Helper()
	newest := func() int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		if all := l.history.all(); len(all) > 0 {
			return all[len(all)-1].Time
		}
		return 0
	}
	for range n {
		was := newest()
		criertest.Eventually(t, "a sample", func() bool { return newest() > was })
	}
}

// TestNobodyLooks: snapshots are made only while there are viewers; samples are always taken.
func TestNobodyLooks(t *testing.T) {
	l, site, _, _ := start(t, Config{Every: every})
	l.ticks(t, 2)
	if l.small() != nil {
		t.Error("the small server runs before anybody looks")
	}
	for range 2 {
		v := look(t, site)
		first, second := v.next(), v.next()
		if second.Time <= first.Time {
			t.Errorf("got snapshots of %d and %d", first.Time, second.Time)
		}
		v.resp.Body.Close()
		criertest.Eventually(t, "the viewer to leave", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.viewers == 0
		})
		l.ticks(t, 1) // A snapshot may have been on its way.
		was := l.small().Stats().Messages
		l.ticks(t, 3)
		if got := l.small().Stats().Messages; got != was {
			t.Errorf("%d snapshots were made for nobody", got-was)
		}
	}
}

// pipes is a listener whose connections hold nothing: who writes waits until it is read.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestDoesNotRead: a viewer that does not read does not stay a viewer.
func TestDoesNotRead(t *testing.T) {
	l, _, _, _ := start(t, Config{Every: every})
	l.patience = every
	ours, theirs := net.Pipe()
	defer ours.Close()
	ln := make(pipes, 1)
	ln <- theirs
	web := &http.Server{Handler: http.HandlerFunc(l.Stream)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }() // Ends with ln, awaited below.
	if _, err := io.WriteString(ours, "GET /v1/live HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	criertest.Eventually(t, "the viewer", func() bool { return l.small() != nil && l.small().Stats().Upgraded+uint64(l.small().Stats().Open) > 0 })
	criertest.Eventually(t, "it to be given up", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.viewers == 0
	})
	criertest.Eventually(t, "its connection to end", func() bool { return l.small().Stats().Open == 0 })
	close(ln)
	if err := <-served; err == nil {
		t.Error("Serve: got nil")
	}
}

// TestBounded: at the limit, viewers are refused until one leaves.
func TestBounded(t *testing.T) {
	l, site, _, _ := start(t, Config{Every: every})
	var viewers []*viewer
	for range MaxViewers {
		v := look(t, site)
		v.next()
		viewers = append(viewers, v)
	}
	more := look(t, site)
	if body, _ := io.ReadAll(more.body); more.resp.StatusCode != http.StatusServiceUnavailable ||
		more.resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), errFull.Error()) {
		t.Errorf("one more: got %s %s", more.resp.Status, body)
	}
	viewers[3].resp.Body.Close()
	criertest.Eventually(t, "room", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.viewers < MaxViewers
	})
	look(t, site).next()
}
