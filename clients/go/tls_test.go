package crier

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestTLS: a wss URL is TLS, with the certificate authorities of Config.TLS.
func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.HTTPUpgrader{Protocol: func(string) bool { return true }}.Upgrade(r, w)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = wsutil.WriteServerText(conn, []byte("id: e-1\nhello"))
		_, _ = conn.Read(make([]byte, 1)) // Until the client closes.
	}))
	defer srv.Close()
	cfg := newsConfig("wss" + strings.TrimPrefix(srv.URL, "https"))
	cfg.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig
	err := follow(t, t.Context(), cfg, func(e Event) error {
		if string(e.Payload) != "hello" {
			t.Errorf("got %q, want hello", e.Payload)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("got %v, want %v", err, errEnough)
	}
}
