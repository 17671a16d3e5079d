package broadcast

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func testPage(show func(*http.Request) bool) *Page {
	return &Page{HTML: []byte("<!doctype html><title>test</title>"), Policy: "default-src 'none'", Show: show}
}

// htmlLine is what browsers send when somebody types an address.
const htmlLine = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func TestPageRequests(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Channels, cfg.Path, cfg.Page = true, "/ws", testPage(nil)
	srv, addr := newServer(t, cfg)
	tests := []struct {
		name, head string
		status     int
	}{
		{"browser", headOf("GET /ws HTTP/1.1", hostLine, htmlLine), 200},
		{"browser, a channel", headOf("GET /ws/news?last=3 HTTP/1.1", hostLine, htmlLine), 200},
		{"HEAD", headOf("HEAD /ws HTTP/1.1", hostLine, htmlLine), 200},
		{"HTTP/1.0", headOf("GET /ws HTTP/1.0", htmlLine), 200},
		{"second Accept line", headOf("GET /ws HTTP/1.1", hostLine, "Accept: */*", "Accept: Text/HTML;q=0.1"), 200},
		{"any type", headOf("GET /ws HTTP/1.1", hostLine, "Accept: */*"), 426},
		{"text of any kind", headOf("GET /ws HTTP/1.1", hostLine, "Accept: text/*"), 426},
		{"HTML unwanted", headOf("GET /ws HTTP/1.1", hostLine, "Accept: text/html;q=0"), 426},
		{"no Accept", headOf("GET /ws HTTP/1.1", hostLine), 426},
		{"HEAD, any type", headOf("HEAD /ws HTTP/1.1", hostLine, "Accept: */*"), 405},
		{"POST", headOf("POST /ws HTTP/1.1", hostLine, htmlLine), 405},
		{"body", headOf("GET /ws HTTP/1.1", hostLine, htmlLine, "Content-Length: 3"), 400},
		{"no host", headOf("GET /ws HTTP/1.1", htmlLine), 400},
		{"other path", headOf("GET /other HTTP/1.1", hostLine, htmlLine), 404},
		{"channel that cannot be", headOf("GET /ws/a%0Ab HTTP/1.1", hostLine, htmlLine), 400},
		{"upgrade", headOf("GET /ws HTTP/1.1", hostLine, htmlLine, "Upgrade: websocket", "Connection: Upgrade"), 400},
		{"handshake", headWith(baseLine, "GET /ws HTTP/1.1\r\n"+htmlLine), 101},
		{"events", headOf("GET /ws HTTP/1.1", hostLine, htmlLine, "Accept: text/event-stream"), 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, addr)
			c.send([]byte(tt.head))
			r := c.readResponse()
			isPage := strings.HasPrefix(r.Header.Get("Content-Type"), "text/html")
			if r.StatusCode != tt.status || isPage != (tt.status == 200 && tt.name != "events") {
				t.Errorf("got %s, %v, want %d", r.Status, r.Header, tt.status)
			}
		})
	}
	eventually(t, "answered connections to be let go of", func() bool { return srv.Stats().Handshakes == 0 })
}

func TestPageAnswer(t *testing.T) {
	page := testPage(nil)
	_, addr := newServer(t, Config{Page: page})
	get := func(method string) (head, body string) {
		c := connect(t, addr)
		c.send([]byte(headOf(method+" / HTTP/1.1", hostLine, htmlLine)))
		c.deadline()
		all, err := io.ReadAll(c.br) // It does not wait for the peer to go first.
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ = strings.Cut(string(all), "\r\n\r\n")
		return head, body
	}
	head, body := get("GET")
	if body != string(page.HTML) {
		t.Errorf("got %q, want %q", body, page.HTML)
	}
	for _, want := range []string{"Content-Length: 34", "Content-Security-Policy: default-src 'none'", "X-Frame-Options: DENY",
		"X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "Cache-Control: no-store", "Connection: close"} {
		if !strings.Contains(head+"\r\n", "\r\n"+want+"\r\n") {
			t.Errorf("got %q, want %q in it", head, want)
		}
	}
	if headOnly, body := get("HEAD"); headOnly != head || body != "" {
		t.Errorf("HEAD: got %q and body %q, want %q", headOnly, body, head)
	}
}

// TestPageShow: the predicate decides, and it is not called for anything that cannot get the page.
func TestPageShow(t *testing.T) {
	asked := make(chan *http.Request, 10)
	_, addr := newServer(t, Config{Page: testPage(func(r *http.Request) bool {
		asked <- r
		return r.Header.Get("X-Wanted") != ""
	})})
	for _, tt := range []struct {
		head   string
		status int
		asks   bool
	}{
		{handshakeHead, 101, false},
		{headOf("GET / HTTP/1.1", hostLine), 426, false},
		{headOf("POST / HTTP/1.1", hostLine, htmlLine), 405, false},
		{headOf("GET / HTTP/1.1", hostLine, htmlLine), 426, true},
		{headOf("HEAD / HTTP/1.1", hostLine, htmlLine), 405, true},
		{headOf("GET / HTTP/1.1", hostLine, htmlLine, "X-Wanted: yes"), 200, true},
	} {
		c := connect(t, addr)
		c.send([]byte(tt.head))
		if got := c.readResponse().StatusCode; got != tt.status {
			t.Errorf("%q: got %d, want %d", tt.head, got, tt.status)
		}
		if got := len(asked) == 1; got != tt.asks {
			t.Fatalf("%q: was Show called: got %t, want %t", tt.head, got, tt.asks)
		}
		if tt.asks {
			if r := <-asked; r.RemoteAddr != c.LocalAddr().String() || r.Host == "" {
				t.Errorf("Show got the address %q and the host %q", r.RemoteAddr, r.Host)
			}
		}
	}
}

func TestPageConfig(t *testing.T) {
	full := bytes.Repeat([]byte("x"), maxPageBytes-1)
	for _, tt := range []struct {
		name string
		page Page
		want string // In the error, or empty.
	}{
		{"largest", Page{HTML: full, Policy: "x"}, ""},
		{"too large", Page{HTML: full, Policy: "xy"}, "16385 bytes"},
		{"no document", Page{Policy: "x"}, "HTML is empty"},
		{"no policy", Page{HTML: full}, "Policy"},
		{"policy with a line end", Page{HTML: []byte("x"), Policy: "x\r\ny: z"}, "Policy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Config{Page: &tt.page}.WithDefaults()
			if got := err == nil; got != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestPageLargest: the largest page fits in the socket buffer of a peer that does not read yet.
func TestPageLargest(t *testing.T) {
	page := &Page{HTML: bytes.Repeat([]byte("x"), maxPageBytes-1), Policy: "x"}
	srv, addr := newServer(t, Config{Page: page})
	c := connect(t, addr)
	c.send([]byte(headOf("GET / HTTP/1.1", hostLine, htmlLine)))
	eventually(t, "a connection in the handshake", func() bool { return srv.Stats().Handshakes == 1 })
	r := c.readResponse()
	body, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Equal(body, page.HTML) {
		t.Errorf("got %d bytes, %v, want %d", len(body), err, len(page.HTML))
	}
	other := dial(t, addr) // The server goes on.
	other.sendFrame(true, ws.OpText, []byte("hello"))
	other.expectText("hello")
}
