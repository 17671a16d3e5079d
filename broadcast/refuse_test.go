package broadcast

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const eventsLine = "Accept: text/event-stream"

// refusedCase is one way to be refused.
type refusedCase struct {
	name   string
	cfg    Config
	before func(t *testing.T, srv *Server, addr string) // Done before the request.
	source string                                       // Of the request.
	target string
	lines  []string // Further ones of the request.
	status int      // For a WebSocket, and counted.
	final  bool     // For an EventSource.
}

func (tt *refusedCase) ask(t *testing.T, addr string, head ...string) *client {
	t.Helper()
	c := from(t, tt.source, addr)
	target := "/"
	if tt.target != "" {
		target = tt.target
	}
	c.send([]byte(headOf(append(append([]string{"GET " + target + " HTTP/1.1", hostLine}, head...), tt.lines...)...)))
	return c
}

// TestRefusedForNow: an EventSource reconnects only after status 200. So a temporary refusal is a stream that ends,
// and a lasting one is a status. WebSocket clients get a status for both.
func TestRefusedForNow(t *testing.T) {
	for _, tt := range refusals() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv, addr := newServer(t, tt.cfg)
			if tt.source == "" {
				tt.source = "127.0.9.1"
			}
			if tt.before != nil {
				tt.before(t, srv, addr)
			}
			ws := tt.ask(t, addr, upgrLine, connLine, keyLine, versLine)
			r := ws.readResponse()
			mayRetry := tt.status == http.StatusServiceUnavailable || tt.status == http.StatusTooManyRequests
			if r.StatusCode != tt.status || (r.Header.Get("Retry-After") != "") != mayRetry {
				t.Errorf("WebSocket: got %d, Retry-After %q, want %d", r.StatusCode, r.Header.Get("Retry-After"), tt.status)
			}
			ws.Close()
			c := tt.ask(t, addr, eventsLine)
			if r = c.readResponse(); !tt.final {
				expectForNow(t, r, tt.status)
				c.expectEOF()
			} else if r.StatusCode != tt.status {
				t.Errorf("events: got %d, want %d", r.StatusCode, tt.status)
			}
			if st := srv.Stats(); st.Refused[tt.status]+st.ShedPerIP != 2 {
				t.Errorf("got %v refused and %d shed, want 2", st.Refused, st.ShedPerIP)
			}
		})
	}
}

// expectForNow reads an event stream that has only a comment with the status, and the time to wait before
// reconnecting.
func expectForNow(t *testing.T, r *http.Response, status int) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" || err != nil {
		t.Fatalf("events: got %d %v %q, %v", r.StatusCode, r.Header, body, err)
	}
	lines := strings.Split(string(body), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], fmt.Sprintf(": %d ", status)) || lines[2]+lines[3] != "" {
		t.Fatalf("events: got %q", body)
	}
	retry, err := strconv.Atoi(strings.TrimPrefix(lines[1], "retry: "))
	if err != nil || retry < refusedRetryLeast || retry >= refusedRetryLeast+refusedRetryJitter {
		t.Errorf("events: got %q, want retry from %d to %d", lines[1], refusedRetryLeast, refusedRetryLeast+refusedRetryJitter)
	}
}

func refusals() []refusedCase {
	refuse := func(status int, reason string) Config {
		return Config{OnConnect: func(*Conn, *http.Request) error { return &Refusal{status, reason} }}
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}
	fill := func(t *testing.T, _ *Server, addr string) {
		c := from(t, "127.0.9.1", addr)
		c.send([]byte(headPlus("X-Forwarded-For: 192.0.2.1")))
		c.expectUpgrade()
	}
	drain := func(t *testing.T, srv *Server, addr string) {
		dial(t, addr) // Until it is closed there is somebody to answer.
		srv.draining.Store(true)
	}
	return []refusedCase{
		{name: "full", cfg: Config{MaxConns: 1}, before: fill, status: 503},
		{name: "full, for a page that says where it was", cfg: Config{MaxConns: 1, Channels: true}, before: fill,
			target: "/?last=2&x=%", lines: []string{"Last-Event-ID: a-1"}, status: 503},
		{name: "draining", cfg: Config{DrainTime: time.Hour}, before: drain, status: 503},
		{name: "behind in a cluster", cfg: Config{Channels: true, Replication: Replication{Order: &picky{}, Follower: &picky{}, Epoch: "town"}}, status: 503},
		{name: "too many of an address", cfg: Config{MaxConnsPerIP: 1}, before: fill, status: 429},
		{name: "too many of an address, behind a proxy", cfg: Config{MaxConnsPerIP: 1, TrustedProxies: proxies}, before: fill,
			lines: []string{"X-Forwarded-For: 192.0.2.1"}, status: 429},
		{name: "larger than heads may be", lines: []string{"Cookie: " + strings.Repeat("x", maxHeadBytes)}, status: 431},
		{name: "a hook that has no answer now", cfg: refuse(503, "two\r\nlines\nand more"), status: 503},
		{name: "a hook that bounds a rate", cfg: refuse(429, "slower"), status: 429},
		{name: "a hook with a fault", cfg: refuse(500, "sorry"), status: 500},
		{name: "a hook with no status of an error", cfg: refuse(200, ""), status: 500},
		{name: "a hook whose back end is gone", cfg: refuse(502, "no answer"), status: 502},
		{name: "a hook that says no", cfg: refuse(403, "no"), status: 403, final: true},
		{name: "a hook that wants a token", cfg: refuse(401, "who is it"), status: 401, final: true},
		{name: "a hook that knows no such channel", cfg: refuse(404, "what is it"), status: 404, final: true},
		{name: "a hook, gone for good", cfg: refuse(410, "gone"), status: 410, final: true},
		{name: "a hook, never implemented", cfg: refuse(501, "never"), status: 501, final: true},
		{name: "another path", cfg: Config{Path: "/ws"}, status: 404, final: true},
		{name: "another origin", cfg: Config{Origins: []string{"https://a.test"}}, lines: []string{"Origin: https://b.test"}, status: 403, final: true},
		{name: "a body", lines: []string{"Content-Length: 1"}, status: 400, final: true},
		{name: "since is no ID", cfg: Config{Channels: true}, target: "/?since=x", status: 400, final: true},
		{name: "no channel", cfg: Config{Channels: true}, target: "/%0A", status: 400, final: true},
	}
}

// TestRefusedByProxyHeader: the address in a PROXY header counts once the request after it has arrived.
func TestRefusedByProxyHeader(t *testing.T) {
	srv, addr := newServer(t, Config{MaxConnsPerIP: 1, ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}})
	const proxy = "PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n"
	first := from(t, "127.0.9.1", addr)
	first.send([]byte(proxy + handshakeHead))
	first.expectUpgrade()
	c := from(t, "127.0.9.1", addr)
	c.send([]byte(proxy))
	eventually(t, "the header to be read", func() bool {
		srv.addresses.mu.Lock()
		defer srv.addresses.mu.Unlock()
		return len(srv.addresses.crowded) == 1
	})
	c.send([]byte(headOf(baseLine, hostLine, eventsLine)))
	expectForNow(t, c.readResponse(), http.StatusTooManyRequests)
	if st := srv.Stats(); st.Refused[429] != 1 {
		t.Errorf("got %v refused, want one with 429", st.Refused)
	}
}

// TestCrowdIsBounded: of the connections above the limit of an address, a bounded number is read before they are
// refused.
func TestCrowdIsBounded(t *testing.T) {
	for limit, crowd := range map[int]int{3: minCrowd, minCrowd + 4: minCrowd + 4} {
		testCrowd(t, limit, limit+crowd)
	}
}

func testCrowd(t *testing.T, limit, most int) {
	srv, addr := newServer(t, Config{MaxConnsPerIP: limit})
	var silent []*client
	for range most { // Those above the limit are to be refused, but say nothing.
		silent = append(silent, from(t, "127.0.9.1", addr))
	}
	eventually(t, "them to be accepted", func() bool { return srv.Stats().Handshakes == most })
	over := from(t, "127.0.9.1", addr) // Answered at once.
	if r := over.readResponse(); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %v, want 429", r.StatusCode, r.Header)
	}
	from(t, "127.0.9.2", addr)
	eventually(t, "another address", func() bool { return srv.Stats().Handshakes == most+1 })
	for _, c := range silent {
		c.Close()
	}
	eventually(t, "all to be forgotten", func() bool {
		a := srv.addresses
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.counts) == 1 && len(a.byConn) == 1 && len(a.crowds) == 0 && len(a.crowded) == 0
	})
	if st := srv.Stats(); st.ShedPerIP != 1 || len(st.Refused) != 0 {
		t.Errorf("got %d shed and %v refused, want 1 and none", st.ShedPerIP, st.Refused)
	}
	from(t, "127.0.9.1", addr).send([]byte(handshakeHead))
	eventually(t, "it to be let in", func() bool { return srv.Stats().Open == 1 })
}

// TestTurnedAway: a connection that is refused at accept is answered according to the part of its request that has
// arrived.
func TestTurnedAway(t *testing.T) {
	for _, tt := range []struct {
		name, came string
		events     bool
	}{
		{"all of it", headOf(baseLine, hostLine, eventsLine, "Last-Event-ID: a-1"), true},
		{"up to the type", strings.Join([]string{baseLine, hostLine, eventsLine, "Cook"}, "\r\n"), true},
		{"not yet the type", strings.Join([]string{baseLine, hostLine, eventsLine}, "\r\n"), false},
		{"a WebSocket", handshakeHead, false},
		{"a WebSocket that takes events", headPlus(eventsLine), false},
		{"no request", "\x16\x03\x01\r\n\r\n", false},
		{"nothing", "", false},
	} {
		srv := quietServer(t, Config{MaxConnsPerIP: 1, Shards: 1})
		pair := socketPair(t, unix.SOCK_STREAM)
		c := newClient(t, pair[1])
		c.send([]byte(tt.came))
		fd, err := dup(pair[0], "connection")
		if err != nil {
			t.Fatal(err)
		}
		srv.cfg.sockets, srv.shards[0].sockets = new(kernel), new(kernel)
		newConn(fd, srv.shards[0].lobby).turnAway(errManyAtAccept)
		unix.Close(fd)
		r := c.readResponse()
		if tt.events {
			expectForNow(t, r, http.StatusTooManyRequests)
		} else if r.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: got %d, want 429", tt.name, r.StatusCode)
		}
	}
}

// TestTooLateForNow: a request for events that took too long gets an answer after which an EventSource reconnects.
func TestTooLateForNow(t *testing.T) {
	srv, addr := newServer(t, Config{HandshakeTimeout: 50 * time.Millisecond, Origins: []string{"https://a.test"}})
	begun := strings.Join([]string{baseLine, hostLine, "Origin: https://a.test", eventsLine, "Cookie: x"}, "\r\n")
	c := connect(t, addr)
	c.send([]byte(begun))
	r := c.readResponse()
	expectForNow(t, r, http.StatusRequestTimeout)
	expectCORS(t, "events", r, "https://a.test", true)
	for _, begun := range []string{strings.Replace(begun, "a.test", "b.test", 1), begun[:20], ""} {
		c := connect(t, addr)
		c.send([]byte(begun))
		if r := c.readResponse(); r.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%q: got %d, want 408", begun, r.StatusCode)
		}
	}
	if st := srv.Stats(); st.HandshakeTimeouts != 4 {
		t.Errorf("got %d timeouts, want 4", st.HandshakeTimeouts)
	}
}

// TestTooLateInHook: so does a request whose time was over while a hook ran.
func TestTooLateInHook(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	srv, addr := newServer(t, Config{HandshakeTimeout: time.Second,
		OnConnect: func(*Conn, *http.Request) error { <-released; return nil }})
	c := connect(t, addr)
	c.send([]byte(headOf(baseLine, hostLine, eventsLine)))
	eventually(t, "the time to be up", func() bool { return srv.Stats().Accepted == 1 && srv.opening.len() == 0 })
	close(released)
	expectForNow(t, c.readResponse(), http.StatusRequestTimeout)
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestHandlerRefusesForNow: the same holds under net/http, whoever refuses.
func TestHandlerRefusesForNow(t *testing.T) {
	t.Parallel()
	srv, addr := newServer(t, Config{MaxConns: 1, MaxConnsPerIP: 2})
	site := httptest.NewServer(srv.Handler())
	defer site.Close()
	dial(t, addr)
	ask := func(lines ...string) *client {
		c := connect(t, site.Listener.Addr().String())
		c.send([]byte(headOf(append([]string{"GET / HTTP/1.1", hostLine, eventsLine}, lines...)...)))
		return c
	}
	expectForNow(t, ask().readResponse(), http.StatusServiceUnavailable)
	expectForNow(t, ask("X-Long: "+strings.Repeat("x", maxHeadBytes)).readResponse(), http.StatusRequestHeaderFieldsTooLarge)
	for range 2 + minCrowd { // Those above the limit wait to be refused.
		connect(t, addr)
	}
	eventually(t, "too many of the address", func() bool { return srv.Stats().ShedPerIP > 0 })
	expectForNow(t, ask().readResponse(), http.StatusTooManyRequests)
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	expectForNow(t, ask().readResponse(), http.StatusServiceUnavailable)
}
