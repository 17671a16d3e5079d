package main

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// keptAlive sends a request on a new connection, and keeps the connection open.
func keptAlive(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	rd := bufio.NewReader(conn)
	askAgain(t, conn, rd)
	return conn, rd
}

func askAgain(t *testing.T, conn net.Conn, rd *bufio.Reader) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(rd, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// TestIdleConns checks that of too many idle connections, only the one that has been idle for longest is closed.
func TestIdleConns(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	idle := newIdleConns(2)
	srv.Config.ConnState = idle.changed
	srv.Start()
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	settle := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			idle.mu.Lock()
			got := idle.oldest.Len()
			idle.mu.Unlock()
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %d idle connections, want %d", got, want)
			}
		}
	}
	first, firstReader := keptAlive(t, addr)
	settle(1)
	second, secondReader := keptAlive(t, addr)
	settle(2)
	askAgain(t, first, firstReader) // The second connection has now been idle for longest.
	settle(2)
	third, thirdReader := keptAlive(t, addr)
	_ = second.SetDeadline(time.Now().Add(patience))
	if b, err := secondReader.ReadByte(); err == nil {
		t.Errorf("the one that was idle for longest: got %q, want its end", b)
	}
	askAgain(t, first, firstReader)
	askAgain(t, third, thirdReader)
	settle(2)
}

// TestEndpointKeepsIdleConnections checks that an endpoint keeps a limited number of idle connections, and for longer
// than load balancers do, which is up to ten minutes.
func TestEndpointKeepsIdleConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := startEndpoint("admin", ln, http.NotFoundHandler(), slog.New(slog.DiscardHandler), bodyTimeout)
	defer e.close()
	if e.srv.IdleTimeout <= 10*time.Minute || e.srv.ConnState == nil {
		t.Errorf("got %v, and bounded: %t", e.srv.IdleTimeout, e.srv.ConnState != nil)
	}
	conn, rd := keptAlive(t, ln.Addr().String())
	askAgain(t, conn, rd)
}
