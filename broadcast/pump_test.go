package broadcast

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// smallBuffers makes a site's sockets hold few bytes, so that a peer that does not read is noticed soon.
func smallBuffers(site *httptest.Server) {
	site.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if c, ok := conn.(*tls.Conn); ok {
			conn = c.NetConn()
		}
		_ = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
		return ctx
	}
}

func startTLS(site *httptest.Server) {
	smallBuffers(site)
	site.StartTLS()
}

func startHTTP2(site *httptest.Server) {
	site.EnableHTTP2 = true
	startTLS(site)
}

// eventsHead asks for server-sent events.
const eventsHead = "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"

// dialHTTP2 asks for / over HTTP/2, with further header fields, and reads nothing. Each stream has a window for so many
// bytes.
func dialHTTP2(t *testing.T, site *httptest.Server, window uint32, fields string) *client {
	t.Helper()
	conn, err := tls.Dial("tcp", site.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	frame := func(dst []byte, typ, flags, stream byte, payload string) []byte { // RFC 9113, section 4.1.
		dst = append(dst, 0, 0, byte(len(payload)), typ, flags, 0, 0, 0, stream)
		return append(dst, payload...)
	}
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = frame(b, 4, 0, 0, "\x00\x04"+string(binary.BigEndian.AppendUint32(nil, window))) // SETTINGS_INITIAL_WINDOW_SIZE.
	b = frame(b, 8, 0, 0, "\x40\x00\x00\x00")                                            // WINDOW_UPDATE of the connection.
	b = frame(b, 1, 5, 1, "\x82\x87\x84\x41\x04test"+fields)                             // HEADERS, all there is.
	c.send(b)
	return c
}

// acceptEvents is a header field of HTTP/2: Accept: text/event-stream, RFC 7541, section 6.2.2.
const acceptEvents = "\x0f\x04\x11text/event-stream"

// expectReset reads frames of HTTP/2 up to a RST_STREAM.
func (c *client) expectReset() {
	c.t.Helper()
	c.deadline()
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.br, head[:]); err != nil {
			c.t.Fatalf("waiting for a RST_STREAM: %v", err)
		}
		if head[3] == 3 {
			return
		}
		if _, err := c.br.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestHandlerUnread: a peer that reads none of its events is dropped long before it is lapped.
func TestHandlerUnread(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		start func(*httptest.Server)
		wrap  func(http.Handler) http.Handler
		ask   func(*testing.T, *httptest.Server) *client
	}{
		"TLS":                                {start: startTLS},
		"HTTP/2":                             {start: startHTTP2, ask: func(t *testing.T, s *httptest.Server) *client { return dialHTTP2(t, s, 1<<30, acceptEvents) }},
		"a ResponseWriter without deadlines": {start: func(s *httptest.Server) { smallBuffers(s); s.Start() }, wrap: hidden},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan Reason, 1)
			srv := newIdle(t, Config{PingTimeout: 100 * time.Millisecond, CloseTimeout: 10 * time.Millisecond,
				OnDisconnect: func(_ *Conn, why Reason) { ended <- why }})
			defer srv.Shutdown(context.Background())
			h := srv.Handler()
			if tt.wrap != nil {
				h = tt.wrap(h)
			}
			site := newSite(t, tt.start, h)
			if tt.ask != nil {
				tt.ask(t, site)
			} else {
				dialSite(t, site).send([]byte(eventsHead))
			}
			eventually(t, "it to be open", func() bool { return srv.Stats().Open == 1 })
			for range 24 { // Less than is kept, and more than the sockets hold.
				publishTo(t, srv, "", strings.Repeat("x", 256<<10))
			}
			eventually(t, "it to be dropped", func() bool { return len(ended) > 0 })
			if why := <-ended; why == ReasonSlow {
				t.Errorf("got %v, want that it was dropped before", why)
			}
			eventually(t, "the pump to end", func() bool { return srv.pumps.Load() == 0 })
		})
	}
}

// TestHandlerNoWindow: over HTTP/2, a stream whose client takes nothing is reset, and the handler returns.
func TestHandlerNoWindow(t *testing.T) {
	for name, tt := range map[string]struct {
		fields  string
		timeout time.Duration // Of the http.Server.
		cfg     Config
	}{
		"events":  {acceptEvents, 0, Config{PingTimeout: 50 * time.Millisecond}},
		"refused": {"", 50 * time.Millisecond, Config{PingTimeout: time.Hour, HandshakeTimeout: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newIdle(t, tt.cfg)
			defer srv.Shutdown(context.Background())
			returned := make(chan bool, 1)
			site := newSite(t, func(s *httptest.Server) {
				s.Config.WriteTimeout = tt.timeout
				startHTTP2(s)
			}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { returned <- true }()
				srv.Handler().ServeHTTP(w, r)
			}))
			dialHTTP2(t, site, 0, tt.fields).expectReset()
			eventually(t, "the handler to return", func() bool { return len(returned) > 0 })
			eventually(t, "the end of the connection", func() bool { return srv.Stats().Open == 0 })
		})
	}
}

// TestWriteLimit: each write has a deadline, an idle peer has none, and nothing extends the deadline of hurry.
func TestWriteLimit(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		do      func(*writeLimit)
		want    []bool // Whether a deadline is set, or none.
	}{
		"a write":         {time.Minute, func(l *writeLimit) { l.startWrite(); l.endWrite() }, []bool{true, false}},
		"without a bound": {-1, func(l *writeLimit) { l.startWrite(); l.endWrite() }, nil},
		"hurried":         {time.Minute, func(l *writeLimit) { l.startWrite(); l.hurry(1); l.endWrite(); l.startWrite(); l.hurry(1) }, []bool{true, true}},
		"at the end":      {time.Minute, func(l *writeLimit) { l.freeze(); l.hurry(1); l.setDeadline(time.Time{}) }, nil},
	} {
		var got []bool
		tt.do(&writeLimit{timeout: tt.timeout, set: func(d time.Time) error { got = append(got, !d.IsZero()); return nil }})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got deadlines %v, want %v", name, got, tt.want)
		}
	}
}

// TestPumpPage: the largest page arrives whole, however little the kernel may hold of a connection's output.
func TestPumpPage(t *testing.T) {
	page := &Page{Policy: "default-src 'none'"}
	page.HTML = bytes.Repeat([]byte("x"), maxPageBytes-len(page.Policy))
	srv := newIdle(t, Config{UnsentBytes: 4096, Page: page})
	defer srv.Shutdown(context.Background())
	for _, start := range []func(*httptest.Server){(*httptest.Server).StartTLS, startHTTP2} {
		site := newSite(t, start, srv.Handler())
		req, err := http.NewRequest("GET", site.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		r, err := site.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(body, page.HTML) {
			t.Errorf("%s: got %d bytes and %v, want the page of %d bytes", r.Proto, len(body), err, len(page.HTML))
		}
		r.Body.Close()
	}
}
