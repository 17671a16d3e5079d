package broadcast

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// newSite starts net/http with a handler on a listener, and ends it before srv.
func newSite(t *testing.T, start func(*httptest.Server), h http.Handler) *httptest.Server {
	t.Helper()
	site := httptest.NewUnstartedServer(h)
	start(site)
	t.Cleanup(site.Close)
	return site
}

// TestHandler: on a site's mux, under its middleware, a TCP connection is like one of the server's own port, and
// hooks see the request of net/http.
func TestHandler(t *testing.T) {
	type key struct{}
	seen := make(chan string, 10)
	srv := newIdle(t, Config{
		Channels: true, Greeting: "hello",
		OnConnect: func(c *Conn, r *http.Request) error {
			seen <- fmt.Sprint(r.Context().Value(key{}), " ", r.Context().Err(), " ", r.PathValue("name"), " ", r.Pattern, " ",
				r.Header.Get("Cookie"), " ", c.Channel(), " ", c.RemoteAddr().String() == r.RemoteAddr, " ", r.RemoteAddr)
			return nil
		},
	})
	defer srv.Shutdown(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a page") })
	mux.Handle("GET /ws/{name...}", http.StripPrefix("/ws", srv.Handler()))
	site := newSite(t, (*httptest.Server).Start, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "of middleware")))
	}))
	before := runtime.NumGoroutine()
	c := connect(t, site.Listener.Addr().String())
	// A frame in the packet of the request is in net/http's buffer.
	c.send(append([]byte(headWith(baseLine, "GET /ws/a%20room HTTP/1.1", "Cookie: a=b")), stream("text early")...))
	c.expectUpgrade()
	c.expectText("hello")
	c.expectText("early")
	want := "of middleware <nil> a room GET /ws/{name...} a=b a room true " + c.LocalAddr().String()
	if got := <-seen; got != want {
		t.Errorf("OnConnect: got  %s\nwant %s", got, want)
	}
	publishTo(t, srv, "a room", "published")
	c.expectText("published")
	c.sendText(strings.Repeat("x", 1<<20))
	c.expectText(strings.Repeat("x", 1<<20))
	eventually(t, "net/http's goroutine to end", func() bool { return runtime.NumGoroutine() <= before })
	if len(srv.extras.byConn) > 0 {
		t.Error("the connection keeps an extra")
	}
	r, err := http.Get(site.URL + "/page")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r.Body); string(body) != "a page" || err != nil {
		t.Errorf("the site's page: got %q, %v", body, err)
	}
	c.sendFrame(true, ws.OpClose, nil)
	c.expectClose(0)
	c.expectEOF()
}

// TestHandlerRefuses: the answers are those of the server's own port, at once.
func TestHandlerRefuses(t *testing.T) {
	srv := newIdle(t, Config{Path: "/ws", MaxMessageBytes: 10, OnConnect: func(*Conn, *http.Request) error {
		return &Refusal{http.StatusUnauthorized, "who are you"}
	}})
	defer srv.Shutdown(context.Background())
	site := newSite(t, (*httptest.Server).Start, srv.Handler())
	for name, tt := range map[string]struct {
		head   string
		status int
	}{
		"refused by OnConnect": {headWith(baseLine, "GET /ws HTTP/1.1"), 401},
		"no handshake":         {headOf("GET /ws HTTP/1.1", "Host: x"), 426},
		"another path":         {headWith(baseLine, "GET /other HTTP/1.1"), 404},
		"another method":       {headWith(baseLine, "POST /ws HTTP/1.1"), 405},
		"a bad key":            {headOf("GET /ws HTTP/1.1", hostLine, upgrLine, connLine, versLine, "Sec-WebSocket-Key: x"), 400},
		"a body":               {headWith(baseLine, "GET /ws HTTP/1.1", "Content-Length: 3") + "abc", 400},
		"a long header":        {headWith(baseLine, "GET /ws HTTP/1.1", "X: "+strings.Repeat("x", 100<<10)), 431},
	} {
		c := connect(t, site.Listener.Addr().String())
		c.send([]byte(tt.head))
		if r := c.readResponse(); r.StatusCode != tt.status {
			t.Errorf("%s: got %s, want %d", name, r.Status, tt.status)
		}
		c.Close()
	}
	eventually(t, "all to be gone", func() bool { return srv.Stats().Handshakes == 0 })
}

// TestHandlerClosed: a request after Shutdown is answered, and leaves nothing behind.
func TestHandlerClosed(t *testing.T) {
	srv := newIdle(t, Config{})
	for _, start := range []func(*httptest.Server){(*httptest.Server).Start, (*httptest.Server).StartTLS} {
		site := newSite(t, start, srv.Handler())
		if err := srv.Shutdown(context.Background()); err != nil && !errors.Is(err, ErrServerClosed) {
			t.Fatal(err)
		}
		c := dialSite(t, site)
		c.send([]byte(handshakeHead))
		if r := c.readResponse(); r.StatusCode != 503 {
			t.Errorf("got %s, want 503", r.Status)
		} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Errorf("the answer: %v", err)
		}
		c.expectEOF()
		c.Close()
	}
	eventually(t, "the pump to end", func() bool { return srv.pumps.Load() == 0 })
}

// dialSite connects to a site, with TLS if it has that.
func dialSite(t *testing.T, site *httptest.Server) *client {
	t.Helper()
	addr := site.Listener.Addr().String()
	if site.TLS == nil {
		return connect(t, addr)
	}
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

// TestHandlerTLS: through the pump, in both directions, to the orderly end of both.
func TestHandlerTLS(t *testing.T) {
	conns := make(chan *Conn, 2)
	srv := newIdle(t, Config{OnConnect: func(c *Conn, r *http.Request) error {
		if r.TLS == nil || c.RemoteAddr().String() != r.RemoteAddr {
			t.Errorf("OnConnect: got %v at %s, want TLS at %s", r.TLS, c.RemoteAddr(), r.RemoteAddr)
		}
		conns <- c
		return nil
	}})
	defer srv.Shutdown(context.Background())
	site := newSite(t, (*httptest.Server).StartTLS, srv.Handler())
	a, b := dialSite(t, site), dialSite(t, site)
	for _, c := range []*client{a, b} {
		c.send([]byte(handshakeHead))
		c.expectUpgrade()
	}
	big := strings.Repeat("x", 1<<20)
	a.sendText(big)
	a.expectText(big)
	b.expectText(big)
	conn := <-conns
	if err := conn.Close(4000, "bye"); err != nil {
		t.Fatal(err)
	}
	first, other := a, b
	if conn.RemoteAddr().String() != a.LocalAddr().String() {
		first, other = b, a
	}
	first.expectClose(4000)
	first.expectEOF()
	first.Close()
	other.sendFrame(true, ws.OpClose, nil)
	other.expectClose(0)
	other.expectEOF()
	other.Close()
	eventually(t, "the pumps to end", func() bool { return srv.pumps.Load() == 0 && srv.Stats().Open == 0 })
}

// TestHandlerTLSLapped: a peer that reads nothing is lapped as any other, and its pump ends.
func TestHandlerTLSLapped(t *testing.T) {
	t.Parallel()
	ended := make(chan Reason, 1)
	srv := newIdle(t, Config{RetainBytes: 64 << 10, MaxMessageBytes: 32 << 10, UnsentBytes: 4 << 10, CloseTimeout: 10 * time.Millisecond,
		OnDisconnect: func(_ *Conn, why Reason) { ended <- why }})
	defer srv.Shutdown(context.Background())
	site := newSite(t, (*httptest.Server).StartTLS, srv.Handler())
	c := dialSite(t, site)
	c.send([]byte(handshakeHead))
	c.expectUpgrade()
	message := Message{Binary, make([]byte, 32<<10)}
	eventually(t, "it to be lapped", func() bool {
		if err := srv.Publish(context.Background(), message); err != nil {
			t.Fatal(err)
		}
		return len(ended) > 0
	})
	if why := <-ended; why != ReasonSlow {
		t.Errorf("got %v, want %v", why, ReasonSlow)
	}
	eventually(t, "the pump to end", func() bool { return srv.pumps.Load() == 0 })
}

// closeCounter counts the ends of its connections, as netutil.LimitListener does.
type closeCounter struct {
	net.Listener
	closed atomic.Int32
}

type countedConn struct {
	*net.TCPConn // With its SyscallConn.
	closed       *atomic.Int32
}

func (l *closeCounter) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{conn.(*net.TCPConn), &l.closed}, nil
}

func (c *countedConn) Close() error {
	c.closed.Add(1)
	return c.TCPConn.Close()
}

// TestHandlerWrapped: a connection that a listener has wrapped is closed when it has ended, and
// not before.
func TestHandlerWrapped(t *testing.T) {
	srv := newIdle(t, Config{})
	defer srv.Shutdown(context.Background())
	var ln *closeCounter
	site := newSite(t, func(s *httptest.Server) {
		ln = &closeCounter{Listener: s.Listener}
		s.Listener = ln
		s.Start()
	}, srv.Handler())
	c := dialSite(t, site)
	c.send([]byte(handshakeHead))
	c.expectUpgrade()
	c.sendText("hello")
	c.expectText("hello")
	if n := ln.closed.Load(); n != 0 {
		t.Fatalf("closed %d times while it is open", n)
	}
	c.Close()
	eventually(t, "it to be closed", func() bool { return ln.closed.Load() > 0 && srv.pumps.Load() == 0 })
}

// TestHandlerEvents: over each version of HTTP, and where the ResponseWriter is hidden.
func TestHandlerEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		start func(*httptest.Server)
		wrap  func(http.Handler) http.Handler
	}{
		"HTTP/1.1":               {(*httptest.Server).Start, nil},
		"HTTP/1.1 over TLS":      {(*httptest.Server).StartTLS, nil},
		"HTTP/2":                 {func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, nil},
		"HTTP/1.1 behind a wall": {(*httptest.Server).Start, hidden},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newIdle(t, Config{Channels: true})
			defer srv.Shutdown(context.Background())
			h := srv.Handler()
			if tt.wrap != nil {
				h = tt.wrap(h)
			}
			site := newSite(t, tt.start, h)
			readEvents(t, srv, site, name == "HTTP/2")
			eventually(t, "the end of the events", func() bool { return srv.Stats().Open == 0 && srv.pumps.Load() == 0 })
		})
	}
}

// readEvents subscribes, publishes, and leaves.
func readEvents(t *testing.T, srv *Server, site *httptest.Server, http2 bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", site.URL+"/news", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	r, err := site.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" || http2 != (r.ProtoMajor == 2) {
		t.Fatalf("got %s of %s, %v", r.Status, r.Proto, r.Header)
	}
	publishTo(t, srv, "news", "one")
	lines := bufio.NewReader(r.Body)
	for line := ""; line != "data: one\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHandlerCannotHijack: a WebSocket handshake that cannot be answered gets an error at once.
func TestHandlerCannotHijack(t *testing.T) {
	srv := newIdle(t, Config{})
	defer srv.Shutdown(context.Background())
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Upgrade", "websocket")
	srv.Handler().ServeHTTP(w, r)
	if w.Code != 500 || !strings.Contains(w.Body.String(), "middleware") {
		t.Errorf("got %d %q, want 500 and why", w.Code, w.Body)
	}
	w, r = httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	srv.Handler().ServeHTTP(w, r)
	if w.Code != 426 {
		t.Errorf("a plain request: got %d, want 426", w.Code)
	}
}

// TestWrittenHead: what middleware has changed in a request does not turn it into two requests.
func TestWrittenHead(t *testing.T) {
	r := httptest.NewRequest("GET", "/a%2fb?c=d", nil)
	r.Header.Set("X-Bad", "a\r\nSec-WebSocket-Key: b")
	r.Header["No name"] = []string{"x"}
	head, err := writtenHead(r)
	if want := "GET /a%2fb?c=d HTTP/1.1\r\nHost: example.com\r\nX-Bad: a  Sec-WebSocket-Key: b\r\n\r\n"; string(head) != want || err != nil {
		t.Errorf("got %q, %v, want %q", head, err, want)
	}
	for name, spoil := range map[string]func(*http.Request){
		"host":   func(r *http.Request) { r.Host = "a\r\nX: y" },
		"query":  func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX: y" },
		"method": func(r *http.Request) { r.Method = "GET /x" },
	} {
		r := httptest.NewRequest("GET", "/", nil)
		spoil(r)
		if head, err := writtenHead(r); err == nil {
			t.Errorf("%s: got %q, want an error", name, head)
		}
	}
	r = httptest.NewRequest("GET", "/", nil)
	r.URL.Path = "" // As http.StripPrefix leaves it.
	if head, _ := writtenHead(r); !strings.HasPrefix(string(head), "GET / HTTP/1.1\r\n") {
		t.Errorf("an empty path: got %q", head)
	}
}

// TestServeConnHijacked: the client of a connection whose request net/http has read is answered
// at once.
func TestServeConnHijacked(t *testing.T) {
	srv := newIdle(t, Config{})
	defer srv.Shutdown(context.Background())
	errs := make(chan error, 1)
	site := newSite(t, (*httptest.Server).Start, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		errs <- srv.ServeConn(conn)
	}))
	c := dialSite(t, site)
	c.send([]byte(handshakeHead))
	if r := c.readResponse(); r.StatusCode != 500 {
		t.Errorf("got %s, want 500", r.Status)
	} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Errorf("the answer: %v", err)
	}
	c.expectEOF()
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "Server.Handler") {
		t.Errorf("got %v, want what to do", err)
	}
}
