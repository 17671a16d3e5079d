package broadcast

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestOrigins(t *testing.T) {
	o, err := parseOrigins([]string{"https://example.com", "http://Example.org:8080", "https://*.example.net", "https://default.test:443", "null"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://example.com":       true,
		"HTTPS://EXAMPLE.COM":       true,
		"http://example.com":        false,
		"https://example.com:8443":  false,
		"https://example.com.evil":  false,
		"https://evilexample.com":   false,
		"https://a.example.com":     false,
		"http://example.org:8080":   true,
		"http://example.org":        false,
		"https://a.example.net":     true,
		"https://a.b.example.net":   true,
		"https://example.net":       false,
		"https://.example.net":      false,
		"https://evilexample.net":   false,
		"https://a.example.net:99":  false,
		"http://a.example.net":      false,
		"https://default.test":      true,
		"null":                      true,
		"":                          false,
		"https://example.com, null": false,
	} {
		if got := o.allow(origin); got != want {
			t.Errorf("%q: got %t, want %t", origin, got, want)
		}
	}
}

// TestOriginPatterns: an entry matches exactly the pages that it names, as browsers write their origins.
func TestOriginPatterns(t *testing.T) {
	for _, tt := range []struct {
		rule string
		yes  string // Origins, with spaces between them.
		no   string
	}{
		{"https://*.example.com", "https://a.example.com https://a.b.example.com https://my_app.example.com https://xn--caf-dma.example.com",
			"https://example.com https://.example.com https://a..example.com https://evilexample.com https://evil.test/.example.com " +
				"https://evil.test:1#.example.com https://evil.test?.example.com https://u@.example.com https://u@evil.example.com " +
				"https://a:1.example.com https://a.example.com:8443 https://a.example.com. http://a.example.com https://*.example.com " +
				`https://evil.test\.example.com https://%61.example.com https://[::1].example.com`},
		{"https://*.example.com:8443", "https://a.example.com:8443", "https://a.example.com https://example.com:8443 https://a:8443.example.com:8443"},
		{"https://*.EXAMPLE.com:443", "https://a.example.com HTTPS://A.Example.COM", "https://a.example.com:443"},
		{"http://*.internal", "http://a.internal http://a.b.internal", "http://internal https://a.internal"},
		{"https://caf\u00e9.example", "https://xn--caf-dma.example", "https://cafe.example"},
		{"https://*.B\u00dcCHER.example", "https://shop.xn--bcher-kva.example", "https://xn--bcher-kva.example"},
		{"https://\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "https://xn--r8jz45g.xn--zckzah", "https://xn--r8jz45g"},
		{"https://xn--caf-dma.example", "https://xn--caf-dma.example", ""},
		{"https://example.com:", "https://example.com", ""},
		{"https://example.com:08443", "https://example.com:8443", ""},
		{"http://example.com:443", "http://example.com:443", "http://example.com"},
		{"http://127.0.0.1:3000", "http://127.0.0.1:3000", "http://127.0.0.1"},
		{"http://[::1]:80", "http://[::1]", ""},
		{"http://[2001:DB8:0:0::1]:3000", "http://[2001:db8::1]:3000", ""},
		{"http://[::ffff:192.0.2.1]", "http://[::ffff:c000:201]", ""},
		{"http://localhost:3000", "http://localhost:3000", "http://localhost:30000"},
		{"file://", "file://", "file:///etc/passwd https://file null"},
		{"NULL", "null", ""},
		{"capacitor://localhost", "capacitor://localhost", "http://localhost"},
		{"tauri://localhost", "tauri://localhost", ""},
		{"app://.", "app://.", ""},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://b"},
		{"vscode-webview://0a1b2c", "vscode-webview://0a1b2c", ""},
	} {
		o, err := parseOrigins([]string{tt.rule})
		if err != nil {
			t.Errorf("%s: %v", tt.rule, err)
			continue
		}
		for _, origin := range strings.Fields(tt.yes) {
			if !o.allow(origin) {
				t.Errorf("%s: a page of %s may not connect", tt.rule, origin)
			}
		}
		for _, origin := range strings.Fields(tt.no) {
			if o.allow(origin) {
				t.Errorf("%s: a page of %s may connect", tt.rule, origin)
			}
		}
	}
}

// TestOriginsThatCannotBe: an entry that no page can match is an error that says what to write instead.
func TestOriginsThatCannotBe(t *testing.T) {
	for bad, want := range map[string]error{
		"": errOrigin, "example.com": errOrigin, "https://": errOrigin, "https://example.com/": errOrigin, "https://u@example.com": errOrigin,
		"https://a?b": errOrigin, "https://a?": errOrigin, "https://a#": errOrigin, "https:example.com": errOrigin, "https://a b": errOrigin,
		"file:///": errOrigin, "https://a:port": errOrigin, "localhost:3000": errOrigin, "//example.com": errOrigin,
		"*": errAnyPage, "https://*": errStar, "https://*:8443": errStar, "https://a.*.example": errStar, "https://**.example": errStar,
		"https://*example.com": errStar, "http://*.*": errStar, "https://*.a.*": errStar, "https://a*.example": errStar,
		"chrome-extension://*": errStar, "https://*.": errHost, "https://.example.com": errHost, "https://a..b": errHost,
		"https://*.0.0.1": errHost, "https://*.10.0.0.1": errHost, "https://*.[::1]": errOrigin, "http://127.1": errHost,
		"http://0x7f.0.0.1": errHost, "http://1.2.3.08": errHost, "http://10.0.0.1.": errHost, "http://[fe80::1%25eth0]": errHost,
		"https://a!b": errHost, "https://a:0": errPort, "https://a:65536": errPort, "https://a:99999999999999999999": errPort,
		"wss://example.com": errSocket, "ws://*.example.com": errSocket,
	} {
		_, err := New(Config{Origins: []string{bad}})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q, want %v", bad, want)) {
			t.Errorf("%q: got %v, want %v", bad, err, want)
		}
	}
}

// answer is the status with which a request with these further lines is answered.
func answer(t testing.TB, addr string, lines ...string) int {
	t.Helper()
	c := connect(t, addr)
	c.send([]byte(headPlus(lines...)))
	return c.readResponse().StatusCode
}

func TestOriginHeader(t *testing.T) {
	_, addr := newServer(t, Config{Origins: []string{"https://example.com"}})
	for lines, want := range map[string]int{
		"": 101, "Origin: https://example.com": 101, "Origin: https://evil.example": 403, "Origin:": 403,
		"Origin: https://example.com\r\nOrigin: https://example.com": 403,
	} {
		var further []string
		if lines != "" {
			further = []string{lines}
		}
		if got := answer(t, addr, further...); got != want {
			t.Errorf("%q: got %d, want %d", lines, got, want)
		}
	}
}

func TestReceiveOnly(t *testing.T) {
	srv, addr := newServer(t, Config{ReceiveOnly: true})
	c, other := dial(t, addr), dial(t, addr)
	c.sendFrame(true, ws.OpPing, []byte("p"))
	c.expectFrame(ws.OpPong, "p")
	c.send(clientFrame(nil, true, ws.OpText, []byte("hello"))[:6]) // Its header is enough.
	c.expectClose(ws.StatusPolicyViolation)
	if err := srv.Publish(context.Background(), Message{Text, []byte("news")}); err != nil {
		t.Fatal(err)
	}
	other.expectText("news")
	c.Close()
	eventually(t, "it to be counted", func() bool { return srv.Stats().Disconnects["receive-only"] == 1 })
}
