package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestProbe checks the exit codes of crier probe.
func TestProbe(t *testing.T) {
	_, addrs, stop := startLogged(t, new(bytes.Buffer), "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer other.Close()
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"alive", []string{"--admin", addrs["admin"]}, 0, "alive"},
		{"ready", []string{"--admin", addrs["admin"], "--ready"}, 0, "ready"},
		{"draining", []string{"--admin", other.Listener.Addr().String(), "--ready"}, 1, "503"},
		{"something else", []string{"--admin", other.Listener.Addr().String()}, 1, "302"},
		{"the public address", []string{"--admin", addrs["addr"]}, 1, "426"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if got := run(append([]string{"probe"}, tt.args...), &out, &out); got != tt.code ||
				!strings.Contains(out.String(), tt.says) {
				t.Errorf("got %d and %q, want %d and %q", got, &out, tt.code, tt.says)
			}
		})
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
