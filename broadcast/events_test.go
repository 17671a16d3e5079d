package broadcast

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// events is a client of server-sent events. It reads lines, without the chunks.
type events struct {
	*client
	body *bufio.Reader
}

func getEvents(t testing.TB, addr, target string, lines ...string) *events {
	t.Helper()
	c := connect(t, addr)
	c.send([]byte("GET " + target + " HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")))
	r := c.readResponse()
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" || !slices.Equal(r.TransferEncoding, []string{"chunked"}) {
		t.Fatalf("got %d %v", r.StatusCode, r.Header)
	}
	return &events{client: c, body: bufio.NewReader(r.Body)}
}

// event reads the lines of one event.
func (e *events) event() string {
	e.t.Helper()
	e.deadline()
	var b strings.Builder
	for {
		line, err := e.body.ReadString('\n')
		if err != nil {
			e.t.Fatalf("reading an event, behind %q: %v", b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func (e *events) expect(want string) {
	e.t.Helper()
	if got := e.event(); got != want {
		e.t.Fatalf("got event %q, want %q", brief([]byte(got)), brief([]byte(want)))
	}
}

func TestEvents(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Greeting: "hi\nthere"})
	id := func(n int) string { return fmt.Sprint(srv.forms[0].epoch, "-", n) }
	e := getEvents(t, addr, "/news")
	var retry int
	if hello := e.event(); !strings.HasSuffix(hello, "\nid: "+id(0)+"\n") {
		t.Errorf("got %q first", hello)
	} else if _, err := fmt.Sscanf(hello, "retry: %d\n", &retry); err != nil || retry < retryLeast || retry >= retryLeast+retryJitter {
		t.Errorf("got %q, %v", hello, err)
	}
	e.expect("event: greeting\nid: " + id(0) + "\ndata: hi\ndata: there\n")
	w := dialPath(t, addr, "/news")
	w.expectText("hi\nthere")
	n := 0
	for text, data := range map[string]string{
		"one": "data: one\n", "": "data: \n", "a\nb": "data: a\ndata: b\n", "a\r\nb\rc": "data: a\ndata: b\ndata: c\n",
		"\n": "data: \ndata: \n", " x:": "data:  x:\n", strings.Repeat("y", 70_000): "data: " + strings.Repeat("y", 70_000) + "\n",
	} {
		n++
		w.sendText(text)
		w.expectText(text)
		e.expect("id: " + id(n) + "\n" + data)
	}
	w.sendFrame(true, ws.OpBinary, []byte{0, 0xff, '\n'})
	e.expect("id: " + id(n+1) + "\nevent: binary\ndata: " + base64.StdEncoding.EncodeToString([]byte{0, 0xff, '\n'}) + "\n")
	// It comes back, as browsers do.
	e.Close()
	w.sendText("meanwhile")
	again := getEvents(t, addr, "/news?since="+id(1), "Last-Event-ID: "+id(n+1))
	if hello := again.event(); !strings.HasSuffix(hello, "\nid: "+id(n+1)+"\n") {
		t.Errorf("got %q first", hello)
	}
	again.event()
	again.expect("id: " + id(n+2) + "\ndata: meanwhile\n")
	gap := getEvents(t, addr, "/news", "Last-Event-ID: old-7")
	gap.event()
	gap.event()
	gap.expect("event: gap\nid: " + id(0) + "\ndata: old-7 " + id(0) + "\n")
}

// TestEventsEnd: the close event arrives, and then the answer is complete.
func TestEventsEnd(t *testing.T) {
	srv, addr := newServer(t, Config{})
	e := getEvents(t, addr, "/")
	e.event()
	e.event()
	go func() { _ = srv.Shutdown(context.Background()) }() // The cleanup waits for it.
	e.expect("event: close\ndata: 1001 server is shutting down\n")
	if rest, err := io.ReadAll(e.body); err != nil || len(rest) != 0 {
		t.Errorf("after the end: got %q, %v", rest, err)
	}
}

// TestEventsHeartbeat: comments keep the connection alive, and need no answer.
func TestEventsHeartbeat(t *testing.T) {
	srv, addr := newServer(t, Config{PingInterval: 50e6, PingTimeout: 60e6})
	e := getEvents(t, addr, "/")
	e.event()
	e.event()
	for range 10 {
		e.expect(":\n")
	}
	publishTo(t, srv, "", "x")
	for {
		if got := e.event(); strings.HasSuffix(got, "\ndata: x\n") {
			break
		} else if got != ":\n" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestEventsRefused(t *testing.T) {
	_, addr := newServer(t, Config{Path: "/ws", Origins: []string{"https://good.example"}})
	tests := []struct {
		name, head string
		status     int
	}{
		{"no type of events", "GET /ws HTTP/1.1\r\nHost: test\r\nAccept: text/html, */*\r\n", 426},
		{"other path", "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n", 404},
		{"POST", "POST /ws HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n", 405},
		{"body", "GET /ws HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nContent-Length: 3\r\n", 400},
		{"HTTP/1.0", "GET /ws HTTP/1.0\r\nHost: test\r\nAccept: text/event-stream\r\n", 400},
		{"other site", "GET /ws HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\nOrigin: https://bad.example\r\n", 403},
		{"the site", "GET /ws HTTP/1.1\r\nHost: test\r\nAccept: text/html, Text/Event-Stream;q=0.5\r\nOrigin: https://good.example\r\n", 200},
	}
	for _, tt := range tests {
		c := connect(t, addr)
		c.send([]byte(tt.head + "\r\n"))
		r := c.readResponse()
		if r.StatusCode != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.name, r.StatusCode, tt.status)
		}
	}
}

// TestChunkLen: the length of each chunk is known from its first bytes.
func TestChunkLen(t *testing.T) {
	for _, n := range []int{1, 9, 15, 16, 255, 4096, 1 << 20} {
		chunk := appendChunk(nil, strings.Repeat("x", n))
		if got := chunkLen(chunk[:min(len(chunk), 16)]); got != len(chunk) {
			t.Errorf("%d bytes: got %d, want %d", n, got, len(chunk))
		}
		body, err := io.ReadAll(httputil.NewChunkedReader(io.MultiReader(bytes.NewReader(chunk), strings.NewReader("0\r\n\r\n"))))
		if err != nil || len(body) != n {
			t.Errorf("%d bytes: got %d, %v", n, len(body), err)
		}
	}
}

// TestEventsKeepNothing: nothing is kept of a request for events, however it arrived and whatever follows it.
func TestEventsKeepNothing(t *testing.T) {
	var conn *Conn
	srv, addr := newServer(t, Config{OnConnect: func(c *Conn, _ *http.Request) error { conn = c; return nil }})
	c := connect(t, addr)
	head := "GET / HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"
	c.send([]byte(head[:30]))
	eventually(t, "half of it to be read", func() bool {
		srv.opening.mu.Lock()
		defer srv.opening.mu.Unlock()
		return len(srv.opening.list) == 1 && srv.queue.quiet()
	})
	c.send([]byte(head[30:] + strings.Repeat("x", 30_000)))
	c.readResponse()
	eventually(t, "the turn to be over", srv.queue.quiet)
	if conn.in != nil {
		t.Errorf("%d bytes are kept", cap(conn.in.rest))
	}
}

// TestMostlyLineEnds: text that consists mostly of line ends does not become many times as large.
func TestMostlyLineEnds(t *testing.T) {
	for _, text := range []string{strings.Repeat("\n", 100_000), strings.Repeat("\r\n", 50_000), strings.Repeat("a\n", 50_000)} {
		var b bytes.Buffer
		appendLines(&b, Message{Text, []byte(text)})
		if b.Len() > 2*len(text)+5000 {
			t.Errorf("%d bytes became %d", len(text), b.Len())
		}
	}
	var b bytes.Buffer
	if appendLines(&b, Message{Text, []byte("a poem\nof\nlines\n")}); !strings.HasPrefix(b.String(), "data: a poem\n") {
		t.Errorf("got %q", b.String())
	}
}
