package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// askPage sends a request like a browser, with further headers ("Name: value"), and reports whether the answer is the
// page.
func askPage(t *testing.T, addr string, headers ...string) bool {
	t.Helper()
	r, err := http.NewRequest("GET", "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		t.Error(err)
		return false
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, "frame-ancestors 'none'") {
			t.Errorf("Content-Security-Policy: got %q", got)
		}
		return true
	case http.StatusUpgradeRequired, http.StatusNotFound:
	default:
		t.Errorf("got %s, want 200, 404 or 426", resp.Status)
	}
	return false
}

// TestPage checks that with --page auto, only a server that was started from a terminal has the page.
func TestPage(t *testing.T) {
	bin := build(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("x", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		onTerminal bool
		args       string
		direct     bool // The page for a browser on this host.
		proxied    bool // The page for what a proxy on this host forwards.
	}{
		{"terminal", true, "", true, false},
		{"terminal, channels", true, "--channels", true, false},
		{"terminal, auto", true, "--page auto --log-format json", true, false},
		{"terminal, off", true, "--page off", false, false},
		{"terminal, tokens", true, "--auth " + secret, false, false},
		{"terminal, origins", true, "--origin https://example.com", false, false},
		{"terminal, proxies", true, "--trusted-proxies 192.0.2.0/24", false, false},
		{"terminal, path", true, "--path /ws", false, false},
		{"service", false, "", false, false},
		{"service, on", false, "--page on --origin https://example.com", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ask := func(addr string, stop func()) {
				defer stop()
				if got := askPage(t, addr); got != tt.direct {
					t.Errorf("a browser on this host gets the page: got %t, want %t", got, tt.direct)
				}
				for _, sign := range []string{"X-Forwarded-For: 192.0.2.1", "Via: 1.1 proxy", "Host: example.com"} {
					if got := askPage(t, addr, sign); got != tt.proxied {
						t.Errorf("%s: what is forwarded gets the page: got %t, want %t", sign, got, tt.proxied)
					}
				}
			}
			args := append([]string{"--listen=127.0.0.1:0", "--drain=0"}, strings.Fields(tt.args)...)
			log := shown(t, bin, tt.onTerminal, nil, ask, args...)
			if got := strings.Contains(log, "open this page"); got != tt.direct {
				t.Errorf("the log names the page: got %t, want %t: %s", got, tt.direct, log)
			}
		})
	}
}

func TestPageURL(t *testing.T) {
	for _, tt := range []struct{ listen, path, want string }{
		{"127.0.0.1:0", "", "http://127.0.0.1:PORT/"},
		{"[::1]:0", "/ws", "http://[::1]:PORT/ws"},
		{"0.0.0.0:0", "", "http://localhost:PORT/"},
		{":0", "/a%20b", "http://localhost:PORT/a%20b"},
	} {
		ln, err := net.Listen("tcp", tt.listen)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		if got, want := pageURL(ln, tt.path), strings.Replace(tt.want, "PORT", port, 1); got != want {
			t.Errorf("%s: got %s, want %s", tt.listen, got, want)
		}
	}
}
