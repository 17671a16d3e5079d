package admin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// back is a back end of a test: an API, and its server.
type back struct {
	*API
	t    *testing.T
	addr string // for clients
	head http.Header
}

func newBack(t *testing.T, cfg Config) *back {
	t.Helper()
	srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{
		Channels: true, MaxMessageBytes: 1000, CloseTimeout: 200 * time.Millisecond,
	})
	cfg.MaxMessageBytes = 1000
	h := New(srv, cfg)
	t.Cleanup(h.Close)
	return &back{API: h, t: t, addr: addr.String(), head: make(http.Header)}
}

// do makes a request and returns the answer's status and body.
func (b *back) do(method, target, body string) (int, string) {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header = b.head.Clone()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		b.t.Errorf("%s %s: 503 without Retry-After", method, target)
	}
	checkDocumented(b.t, method, target, w)
	return w.Code, w.Body.String()
}

// join connects a client to a channel.
func (b *back) join(channel string) net.Conn {
	b.t.Helper()
	conn, _, _, err := ws.Dial(context.Background(), "ws://"+b.addr+"/"+channel)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func (b *back) expect(conn net.Conn, op ws.OpCode, want string) {
	b.t.Helper()
	got, gotOp, err := wsutil.ReadServerData(conn)
	if err != nil || gotOp != op || string(got) != want {
		b.t.Fatalf("got %v %q, %v, want %v %q", gotOp, got, err, op, want)
	}
}
