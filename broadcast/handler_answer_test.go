package broadcast

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hidden is middleware whose ResponseWriter can only be flushed.
func hidden(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(struct {
			http.ResponseWriter
			http.Flusher
		}{w, w.(http.Flusher)}, r)
	})
}

// deadlines records the deadlines that are set through a ResponseWriter.
type deadlines struct {
	http.ResponseWriter
	http.Flusher
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// TestHandlerDeadline: only event streams last longer than the http.Server's WriteTimeout, and not those that refuse
// a request.
func TestHandlerDeadline(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		accept  string
		refusal error
		cleared bool
	}{
		"events":               {-1, "text/event-stream", nil, true},
		"events with pings":    {time.Hour, "text/event-stream", nil, true},
		"refused":              {time.Hour, "text/plain", nil, false},
		"events refused":       {time.Hour, "text/event-stream", &Refusal{403, "no"}, false},
		"events refused a bit": {time.Hour, "text/event-stream", &Refusal{503, "not now"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newIdle(t, Config{PingTimeout: tt.timeout, HandshakeTimeout: time.Hour,
				OnConnect: func(c *Conn, _ *http.Request) error {
					if tt.refusal == nil {
						_ = c.Close(4000, "bye")
					}
					return tt.refusal
				}})
			defer srv.Shutdown(context.Background())
			before := make(chan []time.Time, 1) // Before the server lets go of the connection.
			site := newSite(t, (*httptest.Server).Start, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				d := &deadlines{ResponseWriter: w, Flusher: w.(http.Flusher)}
				srv.Handler().ServeHTTP(d, r)
				before <- d.set
			}))
			c := dialSite(t, site)
			c.send([]byte("GET / HTTP/1.1\r\nHost: test\r\nAccept: " + tt.accept + "\r\n\r\n"))
			if _, err := io.Copy(io.Discard, c.readResponse().Body); err != nil {
				t.Errorf("the answer: %v", err)
			}
			cleared := false
			for _, at := range <-before {
				cleared = cleared || at.IsZero()
			}
			if cleared != tt.cleared {
				t.Errorf("the deadline was cleared: got %v, want %v", cleared, tt.cleared)
			}
		})
	}
}

// TestHandlerCannotFlush: under http.TimeoutHandler, answers are complete, and requests for events are refused at
// once.
func TestHandlerCannotFlush(t *testing.T) {
	var log bytes.Buffer
	ended := make(chan Reason, 1)
	srv, err := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), OnDisconnect: func(_ *Conn, why Reason) { ended <- why }})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown(context.Background())
	site := newSite(t, (*httptest.Server).Start, http.TimeoutHandler(srv.Handler(), time.Hour, ""))
	for _, tt := range []struct {
		accept string
		status int
		body   string
	}{
		{"text/plain", 426, "this is a WebSocket server"},
		{"text/event-stream", 500, "middleware"},
	} {
		c := dialSite(t, site)
		c.send([]byte("GET / HTTP/1.1\r\nHost: test\r\nAccept: " + tt.accept + "\r\n\r\n"))
		r := c.readResponse()
		if body, err := io.ReadAll(r.Body); r.StatusCode != tt.status || err != nil || !strings.Contains(string(body), tt.body) {
			t.Errorf("%s: got %s, %q and %v, want %d and %q", tt.accept, r.Status, body, err, tt.status, tt.body)
		}
	}
	eventually(t, "the connection to end", func() bool { return len(ended) > 0 })
	if n := strings.Count(log.String(), "cannot be flushed"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, &log)
	}
}

// TestHandlerClientAddr: a request whose middleware has made its address unreadable is not taken for one of a trusted
// proxy on a Unix socket.
func TestHandlerClientAddr(t *testing.T) {
	onUnix := func(s *httptest.Server) {
		s.Listener.Close()
		ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		s.Listener = ln
		s.Start()
	}
	const forwarded = "203.0.113.7"
	for name, tt := range map[string]struct {
		start func(*httptest.Server)
		wrap  func(http.Handler) http.Handler
		want  string
	}{
		"hijacked":              {(*httptest.Server).Start, nil, "127.0.0.1"},
		"hijacked with TLS":     {(*httptest.Server).StartTLS, nil, "127.0.0.1"},
		"not hijacked":          {(*httptest.Server).Start, hidden, "::"},
		"not hijacked with TLS": {(*httptest.Server).StartTLS, hidden, "::"},
		"Unix, hijacked":        {onUnix, nil, forwarded},
		"Unix, not hijacked":    {onUnix, hidden, forwarded},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan netip.Addr, 1)
			srv := newIdle(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				OnConnect: func(c *Conn, _ *http.Request) error { seen <- c.RemoteAddr().Addr(); return nil }})
			defer srv.Shutdown(context.Background())
			h := srv.Handler()
			if tt.wrap != nil {
				h = tt.wrap(h)
			}
			site := newSite(t, tt.start, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RemoteAddr = "unknown"
				h.ServeHTTP(w, r)
			}))
			c := (*client)(nil)
			if addr := site.Listener.Addr(); addr.Network() == "unix" {
				conn, err := net.Dial("unix", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				c = newClient(t, conn)
			} else {
				c = dialSite(t, site)
			}
			c.send([]byte(strings.TrimSuffix(eventsHead, "\r\n") + "X-Forwarded-For: " + forwarded + "\r\n\r\n"))
			if got := <-seen; got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			c.Close() // Shutdown does not wait for it.
		})
	}
}

// TestHandlerNeedsHTTP1: over HTTP/2, where no request can ask for an upgrade, the refusal says what to do.
func TestHandlerNeedsHTTP1(t *testing.T) {
	srv := newIdle(t, Config{})
	defer srv.Shutdown(context.Background())
	site := newSite(t, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, srv.Handler())
	r, err := site.Client().Get(site.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if r.ProtoMajor != 2 || r.StatusCode != http.StatusUpgradeRequired || !strings.Contains(string(body), "need HTTP/1.1") || err != nil {
		t.Errorf("got %s %s, %q, %v, want HTTP/2.0 426 that asks for HTTP/1.1", r.Proto, r.Status, body, err)
	}
}
