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
	for _, bad := range []string{"", "example.com", "https://", "https://example.com/", "https://u@example.com", "https://a?b", "*", "https:example.com"} {
		if _, err := New(Config{Origins: []string{bad}}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("%q: got error %v", bad, err)
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
