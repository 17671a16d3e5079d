package broadcast

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// expectUnavailable expects the answer to a WebSocket handshake that was interrupted by the end of the server.
func expectUnavailable(t *testing.T, name string, c *client) {
	t.Helper()
	r := c.readResponse()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" ||
		string(body) != "the server is shutting down\n" {
		t.Errorf("%s: got %d, %v, %q, want 503 with Retry-After", name, r.StatusCode, r.Header, body)
	}
	c.expectEOF() // One answer, and no reset.
}

// TestShutdownAnswersHandshakes: at the end of the server, a client whose request is not complete is refused in the
// form that fits the part that has arrived.
func TestShutdownAnswersHandshakes(t *testing.T) {
	srv, addr := newServer(t, Config{
		ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")},
	})
	const proxy = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"
	half := strings.Join([]string{baseLine, hostLine, "Upgrade: websocket", "Connection: Upg"}, "\r\n")
	events := strings.Join([]string{baseLine, hostLine, eventsLine, "Cookie: x"}, "\r\n")
	tests := []struct {
		name, from, begun string
		events            bool
	}{
		{"nothing", "127.0.0.1", "", false},
		{"half a head", "127.0.0.1", half, false},
		{"half a head for events", "127.0.0.1", events, true},
		{"no PROXY header", "127.0.9.1", "", false},
		{"half a PROXY header", "127.0.9.1", proxy[:20], false},
		{"only the PROXY header", "127.0.9.1", proxy, false},
		{"PROXY header and half a head", "127.0.9.1", proxy + half, false},
		{"PROXY header and half a head for events", "127.0.9.1", proxy + events, true},
	}
	var clients []*client
	for _, tt := range tests {
		c := from(t, tt.from, addr)
		c.send([]byte(tt.begun))
		clients = append(clients, c)
	}
	refused := connect(t, addr)
	refused.send([]byte(headWith(baseLine, "POST / HTTP/1.1")))
	if r := refused.readResponse(); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d, want 405", r.StatusCode)
	}
	eventually(t, "all to be accepted and read", func() bool {
		return srv.Stats().Handshakes == len(tests)+1 && srv.queue.quiet()
	})
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, tt := range tests {
		if tt.events {
			expectForNow(t, clients[i].readResponse(), http.StatusServiceUnavailable)
		} else {
			expectUnavailable(t, tt.name, clients[i])
		}
	}
	if b, err := io.ReadAll(refused.br); !strings.HasSuffix(string(b), "\n") || strings.Contains(string(b), "HTTP/1.1") || err != nil {
		t.Errorf("a connection that was refused before: got %q, %v, want the rest of one answer", b, err)
	}
	if st := srv.Stats(); st.Refused[503] != uint64(len(tests)) || st.HandshakeTimeouts != 0 {
		t.Errorf("got %v refused, %d timeouts, want %d refused with 503", st.Refused, st.HandshakeTimeouts, len(tests))
	}
}

// TestShutdownAnswersQueued: the same for a client whose OnConnect runs, one whose request waits for a worker, and
// one that net/http has handed over.
func TestShutdownAnswersQueued(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	srv, addr := newServer(t, Config{Workers: 1, OnConnect: func(*Conn, *http.Request) error {
		close(entered)
		<-release
		return nil
	}})
	site := newSite(t, (*httptest.Server).Start, srv.Handler())
	inHook, queued, handed := connect(t, addr), connect(t, addr), connect(t, site.Listener.Addr().String())
	inHook.send([]byte(handshakeHead))
	<-entered
	queued.send([]byte(headOf(baseLine, hostLine, eventsLine)))
	handed.send([]byte(headOf(baseLine, hostLine, eventsLine)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Or it would wait for the hook.
	done := make(chan error)
	eventually(t, "all to be accepted", func() bool { return srv.Stats().Handshakes == 3 })
	go func() { done <- srv.Shutdown(ctx) }()
	eventually(t, "all to be given up", func() bool { return srv.Stats().Handshakes == 0 })
	close(release)
	expectUnavailable(t, "in OnConnect", inHook)
	expectForNow(t, queued.readResponse(), http.StatusServiceUnavailable)
	expectForNow(t, handed.readResponse(), http.StatusServiceUnavailable)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: got %v, want %v", err, context.Canceled)
	}
}

// TestShutdownAnswersServeConn: a connection that is passed to ServeConn after Shutdown is answered, too.
func TestShutdownAnswersServeConn(t *testing.T) {
	srv, _ := newServer(t, Config{})
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := connect(t, ln.Addr().String())
	c.send([]byte(headOf(baseLine, hostLine, eventsLine)))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request to arrive", func() bool { return waiting(t, conn) > 0 })
	if err := srv.ServeConn(conn); !errors.Is(err, ErrServerClosed) {
		t.Errorf("ServeConn: got %v, want %v", err, ErrServerClosed)
	}
	expectForNow(t, c.readResponse(), http.StatusServiceUnavailable)
}

// TestShutdownAnswersJustAccepted: a connection that was accepted just before the server ended is answered like the
// others, also after a PROXY header, and counts as refused.
func TestShutdownAnswersJustAccepted(t *testing.T) {
	srv, _ := newServer(t, Config{
		ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := connect(t, ln.Addr().String())
	c.send([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + headOf(baseLine, hostLine, eventsLine)))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the request to arrive", func() bool { return waiting(t, conn) > 0 })
	fd, err := dup(conn, "connection")
	if err != nil {
		t.Fatal(err)
	}
	srv.adopt(fd, nil)
	expectForNow(t, c.readResponse(), http.StatusServiceUnavailable)
	if got := srv.Stats().Refused[http.StatusServiceUnavailable]; got != 1 {
		t.Errorf("refused with 503: got %d, want 1", got)
	}
}

// waiting returns how many bytes wait to be read from conn.
func waiting(t *testing.T, conn net.Conn) (n int) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}
