package frontpage

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/crier-ws/crier/broadcast"
)

// TestNew checks that the page loads nothing else, that its policy allows nothing else, and that a server accepts it
// only with its policy.
func TestNew(t *testing.T) {
	cfg := Config{Path: `/"><script>alert(1)</script>`, Channels: true}
	page := New(cfg)
	body := string(page.HTML)
	for _, wrong := range []string{
		`\son\w+=`, `\sstyle=`, `(src|href)="[^d#]`, `innerHTML|insertAdjacent|document\.write|eval\(|outerHTML`, `url\(`,
		`@import`,
		`<script>alert`, `\{\{`,
	} {
		if got := regexp.MustCompile(wrong).FindString(body); got != "" {
			t.Errorf("the page has %q", got)
		}
	}
	m := regexp.MustCompile(`data-server="([^"]*)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatal("the page has no data-server")
	}
	var got Config
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &got); err != nil || got.Path != cfg.Path ||
		!got.Channels || got.ReceiveOnly {
		t.Errorf("got %+v, %v, want %+v", got, err, cfg)
	}
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'",
		"frame-ancestors 'none'"} {
		if !strings.Contains(page.Policy, want) {
			t.Errorf("got %s, want %s in it", page.Policy, want)
		}
	}
	if _, err := broadcast.New(broadcast.Config{Page: &broadcast.Page{HTML: page.HTML}}); err == nil {
		t.Error("a server takes the page without its policy")
	}
}

func TestLocal(t *testing.T) {
	type change func(*http.Request)
	peer := func(addr string) change { return func(r *http.Request) { r.RemoteAddr = addr } }
	host := func(host string) change { return func(r *http.Request) { r.Host = host } }
	header := func(name, value string) change { return func(r *http.Request) { r.Header.Set(name, value) } }
	for _, tt := range []struct {
		name   string
		change change
		want   bool
	}{
		{"as a browser asks", func(*http.Request) {}, true},
		{"IPv6", func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:4000", "[::1]:18000" }, true},
		{"IPv4 on an IPv6 socket", peer("[::ffff:127.0.0.1]:4000"), true},
		{"another loopback address", func(r *http.Request) { r.RemoteAddr, r.Host = "127.1.2.3:4000", "127.1.2.3:18000" },
			true},
		{"port 80", host("LocalHost"), true},
		{"IPv6 without a port", host("[::1]"), true},
		{"a header of browsers", header("Sec-Fetch-Mode", "navigate"), true},
		{"a language", header("Accept-Language", "de"), true},
		{"a cookie", header("Cookie", "a=b"), true},
		{"a link on another page", header("Referer", "http://localhost:8080/"), true},
		{"reload", header("Cache-Control", "max-age=0"), true},
		{"do not track", header("DNT", "1"), true},
		{"upgrade to https", header("Upgrade-Insecure-Requests", "1"), true},
		{"priority", header("Priority", "u=0, i"), true},
		{"a header of XMLHttpRequest libraries", header("X-Requested-With", "XMLHttpRequest"), true},

		{"another host", peer("192.0.2.1:4000"), false},
		{"another host, IPv6", peer("[2001:db8::1]:4000"), false},
		{"a Unix socket", peer("@"), false},
		{"DNS rebinding", host("attacker.example:18000"), false},
		{"DNS rebinding, a name that begins so", host("localhost.attacker.example:18000"), false},
		{"another host's address in Host", host("192.0.2.1:18000"), false},
		{"no host", host(""), false},
		{"HTTP/1.0", func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 }, false},
		{"Connection: upgrade", header("Connection", "keep-alive, Upgrade"), false},
		{"Upgrade", header("Upgrade", "h2c"), false},
		{"X-Forwarded-For", header("X-Forwarded-For", "127.0.0.1"), false},
		{"X-Forwarded-For, empty", header("X-Forwarded-For", ""), false},
		{"X-Forwarded-Proto", header("X-Forwarded-Proto", "https"), false},
		{"X-ForwardedFor", header("X-ForwardedFor", "127.0.0.1"), false},
		{"Forwarded", header("Forwarded", "for=127.0.0.1"), false},
		{"Via", header("Via", "1.1 proxy"), false},
		{"X-Real-IP", header("X-Real-IP", "127.0.0.1"), false},
		{"X-Client-IP", header("X-Client-IP", "127.0.0.1"), false},
		{"X-Request-ID", header("X-Request-ID", "1"), false},
		{"True-Client-IP", header("True-Client-IP", "127.0.0.1"), false},
		{"CF-Connecting-IP", header("CF-Connecting-IP", "127.0.0.1"), false},
		{"X-Amzn-Trace-Id", header("X-Amzn-Trace-Id", "Root=1"), false},
		{"CDN-Loop", header("CDN-Loop", "cdn"), false},
		{"Front-End-Https", header("Front-End-Https", "on"), false},
		{"X-ARR-SSL", header("X-ARR-SSL", "2048"), false},
		{"WL-Proxy-Client-IP", header("WL-Proxy-Client-IP", "127.0.0.1"), false},
		{"traceparent", header("Traceparent", "00-0-0-01"), false},
		{"a header that nobody knows", header("Example-Gateway", "1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Host = "127.0.0.1:4000", "localhost:18000"
			tt.change(r)
			if got := Local(r); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}
