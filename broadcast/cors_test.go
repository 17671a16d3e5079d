package broadcast

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestPreflight: pages of other sites may send a token, and the last ID, in a header.
func TestPreflight(t *testing.T) {
	authorize := func(*http.Request, string) (Grant, error) { return Grant{}, errors.New("no") }
	_, addr := newServer(t, Config{Path: "/news", Authorize: authorize, Origins: []string{"https://good.test", "null"}})
	_, listed := newServer(t, Config{Origins: []string{"https://good.test"}, MaxConns: 1})
	dial(t, listed) // It is full. A preflight takes no place.
	_, all := newServer(t, Config{Authorize: authorize})
	_, plain := newServer(t, Config{})
	_, channels := newServer(t, Config{Channels: true})
	const good, bad = "https://good.test", "https://bad.test"
	for _, tt := range []struct {
		name, addr, begins, origin, method string
		status                             int
		allow                              string
		credentials                        bool
	}{
		{"tokens, listed", addr, "OPTIONS /news", good, "GET", 204, good, true},
		{"tokens, listed, any sandbox", addr, "OPTIONS /news", "null", "GET", 204, "null", false},
		{"tokens", all, "OPTIONS /news", good, "GET", 204, "*", false},
		{"listed", listed, "OPTIONS /", good, "GET", 204, good, true},
		{"no flag", plain, "OPTIONS /", good, "GET", 204, "*", false},
		{"channels", channels, "OPTIONS /a/b?c=%", good, "GET", 204, "*", false},
		{"not listed", addr, "OPTIONS /news", bad, "GET", 403, "", false},
		{"two origins", addr, "OPTIONS /news", good + "\r\nOrigin: " + good, "GET", 405, "", false},
		{"for a POST", addr, "OPTIONS /news", good, "POST", 405, "", false},
		{"another method", addr, "DELETE /news", good, "GET", 405, "", false},
		{"another path", addr, "OPTIONS /elsewhere", good, "GET", 404, good, true},
		{"two hosts", addr, "OPTIONS /news", good + "\r\nHost: other", "GET", 400, good, true},
		{"a body", addr, "OPTIONS /news", good + "\r\nContent-Length: 5", "GET", 400, good, true},
		{"no channel", channels, "OPTIONS /a%0A", good, "GET", 400, "*", false},
	} {
		c := connect(t, tt.addr)
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: test\r\nOrigin: %s\r\nAccess-Control-Request-Method: %s\r\nAccess-Control-Request-Headers: authorization,last-event-id\r\n\r\n",
			tt.begins, tt.origin, tt.method)
		r := c.readResponse()
		if r.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, r.StatusCode, tt.status)
		}
		expectCORS(t, tt.name, r, tt.allow, tt.credentials)
		const names = "Authorization, Last-Event-ID, Cache-Control, X-Requested-With"
		if got := r.Header.Get("Access-Control-Allow-Headers"); r.StatusCode == 204 && (got != names || r.Header.Get("Content-Length") != "") {
			t.Errorf("%s: got %v", tt.name, r.Header)
		}
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "broadcast:") {
			t.Errorf("%s: got %q, which names a package", tt.name, body)
		}
		c.expectEOF()
	}
}

// expectCORS checks what the page that asked may read of an answer.
func expectCORS(t *testing.T, name string, r *http.Response, allow string, credentials bool) {
	t.Helper()
	h := r.Header
	if got := h.Get("Access-Control-Allow-Origin"); got != allow || (h.Get("Access-Control-Allow-Credentials") == "true") != credentials ||
		(h.Get("Vary") == "Origin") != (allow != "" && allow != "*") {
		t.Errorf("%s: got %d %v, want it to be readable for %q, with credentials %t", name, r.StatusCode, h, allow, credentials)
	}
}

// TestCORS: a page that may connect may read the events, that it was refused, and how long it should wait.
func TestCORS(t *testing.T) {
	authorize := func(r *http.Request, _ string) (Grant, error) {
		if r.URL.RawQuery == "no" {
			return Grant{}, &Refusal{401, "no"}
		}
		return Grant{}, nil
	}
	_, listed := newServer(t, Config{Path: "/events", Authorize: authorize, Origins: []string{"https://good.test", "https://*.good.test", "null"}})
	_, full := newServer(t, Config{MaxConns: 1, Origins: []string{"https://good.test"}})
	dial(t, full)
	_, open := newServer(t, Config{Authorize: authorize})
	for _, tt := range []struct {
		name, addr, target, origin string
		status                     int
		allow                      string
		credentials                bool
	}{
		{"events", listed, "/events", "https://good.test", 200, "https://good.test", true},
		{"events, below", listed, "/events", "https://a.good.test", 200, "https://a.good.test", true},
		{"events, any sandbox", listed, "/events", "null", 200, "null", false},
		{"not authorized", listed, "/events?no", "https://good.test", 401, "https://good.test", true},
		{"not found", listed, "/", "https://good.test", 404, "https://good.test", true},
		{"not listed", listed, "/events", "https://bad.test", 403, "", false},
		{"full", full, "/", "https://good.test", 200, "https://good.test", true},
		{"full, not listed", full, "/", "https://bad.test", 403, "", false},
		{"without a list", open, "/", "https://any.test", 200, "*", false},
		{"without a list, not authorized", open, "/?no", "https://any.test", 401, "*", false},
	} {
		c := connect(t, tt.addr)
		c.send([]byte(headOf("GET "+tt.target+" HTTP/1.1", hostLine, eventsLine, "Origin: "+tt.origin)))
		r := c.readResponse()
		if r.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, r.StatusCode, tt.status)
		}
		expectCORS(t, tt.name, r, tt.allow, tt.credentials)
		c.Close()
	}
	// A cache must not give the answer for one page, or for none, to another.
	c := connect(t, listed)
	c.send([]byte(headOf("GET /events HTTP/1.1", hostLine, eventsLine)))
	if r := c.readResponse(); r.StatusCode != 200 || r.Header.Get("Vary") != "Origin" {
		t.Errorf("without an origin: got %d %v, want Vary: Origin", r.StatusCode, r.Header)
	}
}
