package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/gobwas/ws/wsutil"
)

// TestNotLive: a server whose workers are all blocked is not alive. When they continue, it is.
func TestNotLive(t *testing.T) {
	hooked, release := make(chan struct{}), make(chan struct{})
	srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{
		Channels: true, Workers: 1, CloseTimeout: 200 * time.Millisecond,
		OnMessage: func(_ *broadcast.Conn, m broadcast.Message) (broadcast.Message, bool) {
			hooked <- struct{}{}
			<-release
			return m, true
		},
	})
	h := New(srv, Config{Wait: 50 * time.Millisecond})
	t.Cleanup(h.Close)
	b := &back{API: h, t: t, addr: addr.String(), head: make(http.Header)}
	if err := wsutil.WriteClientText(b.join("news"), []byte("hold")); err != nil {
		t.Fatal(err)
	}
	<-hooked
	if got, body := b.do("GET", "/livez", ""); got != 503 || !strings.Contains(body, "not_alive") {
		t.Errorf("all workers are held: got %d %s, want 503", got, body)
	}
	close(release)
	for deadline := time.Now().Add(20 * time.Second); ; {
		got, _ := b.do("GET", "/livez", "")
		if got == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("they go on: got %d, want 200", got)
		}
	}
}
