package broadcast

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
)

func TestHandshakeMaxConns(t *testing.T) {
	srv, addr := newServer(t, Config{MaxConns: 2})
	first := dial(t, addr)
	dial(t, addr)
	full := connect(t, addr)
	full.send([]byte(handshakeHead))
	r := full.readResponse()
	if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q, want 503 and some", r.StatusCode, r.Header.Get("Retry-After"))
	}
	if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), "all 2 connections") {
		t.Errorf("got body %q, %v", body, err)
	}
	full.expectEOF()
	if st := srv.Stats(); st.Open != 2 || st.Refused[503] != 1 {
		t.Errorf("got %d open, %d refused, want 2, 1", st.Open, st.Refused[503])
	}
	first.Close()
	eventually(t, "room", func() bool { return srv.Stats().Open == 1 })
	dial(t, addr)
}

// TestHandshakeHalfOpen: hundreds of handshakes that are never finished cost no goroutine, and delay nobody.
func TestHandshakeHalfOpen(t *testing.T) {
	const conns, workers = 300, 2
	srv, addr := newServer(t, Config{Workers: workers})
	good := dial(t, addr)
	before := runtime.NumGoroutine()
	trickling := make([]*client, conns)
	for i := range trickling {
		trickling[i] = connect(t, addr)
	}
	sent := 0
	trickle := func(n int) {
		for _, c := range trickling {
			c.send([]byte(handshakeHead[sent : sent+n]))
		}
		sent += n
	}
	for range 10 {
		trickle(1)
		late := dial(t, addr)
		late.sendText("hello")
		late.expectText("hello")
		good.expectText("hello")
		late.Close()
	}
	eventually(t, "all to be accepted", func() bool { return srv.Stats().Handshakes == conns })
	// The pool may have started its goroutines only now.
	if got, want := runtime.NumGoroutine(), before+2*workers; got > want {
		t.Errorf("goroutines: got %d, want %d at most", got, want)
	}
	trickle(len(handshakeHead) - sent) // Slow, but good.
	for _, c := range trickling {
		c.expectUpgrade()
	}
	good.sendText("to all")
	for _, c := range trickling {
		c.expectText("to all")
	}
	if got, want := runtime.NumGoroutine(), before+2*workers; got > want {
		t.Errorf("goroutines with all open: got %d, want %d at most", got, want)
	}
}

// TestHooks: what hooks see, and that all see the same Conn.
func TestHooks(t *testing.T) {
	type seen struct {
		c    *Conn
		what string
	}
	calls := make(chan seen, 10)
	var want string
	var mu sync.Mutex // Guards want.
	srv, addr := newServer(t, Config{
		OnConnect: func(c *Conn, r *http.Request) error {
			mu.Lock()
			defer mu.Unlock()
			body, err := io.ReadAll(r.Body)
			if r.Method != "GET" || r.URL.Path != "/room" || r.URL.RawQuery != "a=b" || r.Host != "test" ||
				r.Header.Get("X-Token") != "secret" || r.RemoteAddr != want || len(body) > 0 || err != nil {
				t.Errorf("OnConnect: got %+v from %s, want the request from %s", r, r.RemoteAddr, want)
			}
			calls <- seen{c, "connect"}
			return nil
		},
		OnMessage: func(c *Conn, m Message) (Message, bool) {
			calls <- seen{c, fmt.Sprintf("message %d %s", m.Kind, m.Payload)}
			m.Payload = []byte(strings.ToUpper(string(m.Payload)))
			return m, string(m.Payload) != "DROP"
		},
		OnDisconnect: func(c *Conn, why Reason) { calls <- seen{c, "disconnect " + why.String()} },
	})
	mu.Lock()
	c := connect(t, addr)
	want = c.LocalAddr().String()
	mu.Unlock()
	c.send([]byte(headWith(baseLine, "GET /room?a=b HTTP/1.1", "X-Token: secret")))
	c.expectUpgrade()
	c.sendText("drop")
	c.sendFrame(true, ws.OpBinary, []byte("keep"))
	c.expectFrame(ws.OpBinary, "KEEP")
	c.sendFrame(true, ws.OpClose, nil)
	c.expectClose(0)
	c.expectEOF()
	c.Close()
	var conn *Conn
	for _, want := range []string{"connect", "message 1 drop", "message 2 keep", "disconnect peer-closed"} {
		got := <-calls
		if conn == nil {
			conn = got.c
		}
		if got.what != want || got.c != conn {
			t.Errorf("got %q of %p, want %q of %p", got.what, got.c, want, conn)
		}
	}
	if st := srv.Stats(); st.Messages != 1 || st.Disconnects["peer-closed"] != 1 {
		t.Errorf("got %+v, want one message and one disconnect", st)
	}
}

func TestOnConnectRefuses(t *testing.T) {
	errs := map[string]error{
		"/refusal": &Refusal{401, "who are you"},
		"/wrapped": fmt.Errorf("checking: %w", &Refusal{418, "tea"}),
		"/plain":   errors.New("not today"),
		"/busy":    &Refusal{503, "later"},
	}
	var disconnects atomic.Int32
	srv, addr := newServer(t, Config{
		MaxConns:     1, // So that a refused one that is still counted is noticed.
		OnConnect:    func(_ *Conn, r *http.Request) error { return errs[r.URL.Path] },
		OnDisconnect: func(*Conn, Reason) { disconnects.Add(1) },
	})
	tests := []struct {
		path   string
		status int
		body   string
	}{
		{"/refusal", 401, "who are you\n"}, {"/wrapped", 418, "tea\n"}, {"/plain", 403, "not today\n"}, {"/busy", 503, "later\n"},
	}
	for _, tt := range tests {
		c := connect(t, addr)
		c.send([]byte(headWith(baseLine, "GET "+tt.path+" HTTP/1.1")))
		r := c.readResponse()
		body, err := io.ReadAll(r.Body)
		if r.StatusCode != tt.status || string(body) != tt.body || err != nil {
			t.Errorf("%s: got %d %q, %v, want %d %q", tt.path, r.StatusCode, body, err, tt.status, tt.body)
		}
		if got, want := r.Header.Get("Retry-After") != "", tt.status == 503; got != want {
			t.Errorf("%s: has Retry-After: got %t, want %t", tt.path, got, want)
		}
		c.expectEOF()
		c.Close()
	}
	dial(t, addr)
	if got := srv.Stats().Upgraded; got != 1 {
		t.Errorf("upgraded: got %d, want 1", got)
	}
	if got := disconnects.Load(); got != 0 {
		t.Errorf("OnDisconnect: got %d calls for connections that were never open", got)
	}
}

// TestHookPanics: a panic costs one connection and nothing else.
func TestHookPanics(t *testing.T) {
	var mu sync.Mutex
	var ended []Reason
	srv, addr := newServer(t, Config{
		MaxConns: 1,
		Workers:  1,
		OnConnect: func(_ *Conn, r *http.Request) error {
			if r.URL.Path == "/panic" {
				panic("in OnConnect")
			}
			return nil
		},
		OnMessage: func(_ *Conn, m Message) (Message, bool) {
			if string(m.Payload) == "panic" {
				panic("in OnMessage")
			}
			return m, true
		},
		OnDisconnect: func(_ *Conn, why Reason) {
			mu.Lock()
			ended = append(ended, why)
			mu.Unlock()
			panic("in OnDisconnect")
		},
	})
	for range 3 {
		c := connect(t, addr)
		c.send([]byte(headWith(baseLine, "GET /panic HTTP/1.1")))
		c.expectEOF()
		c.Close()
		eventually(t, "the handshake to be over", func() bool { return srv.Stats().Handshakes == 0 })

		c = dial(t, addr)
		c.sendText("before")
		c.expectText("before")
		c.send(stream("text+ pa", "cont nic", "text after"))
		c.expectClose(1011)
		c.expectEOF()
		c.Close()
		eventually(t, "room", func() bool { return srv.Stats().Open == 0 })
	}
	eventually(t, "OnDisconnect", func() bool { mu.Lock(); defer mu.Unlock(); return len(ended) == 3 })
	if got, want := fmt.Sprint(ended), fmt.Sprint([]Reason{ReasonInternal, ReasonInternal, ReasonInternal}); got != want {
		t.Errorf("reasons: got %v, want %v", got, want)
	}
}

// TestHookPanicKeepsPingPrivate: the pong that a panic kept from one peer does
// not go to the next that the worker reads.
func TestHookPanicKeepsPingPrivate(t *testing.T) {
	inHook, gate := make(chan struct{}), make(chan struct{})
	srv, addr := newServer(t, Config{Workers: 1, OnMessage: func(_ *Conn, m Message) (Message, bool) {
		if string(m.Payload) == "panic" {
			close(inHook)
			<-gate
			panic("in OnMessage")
		}
		return m, true
	}})
	other := dial(t, addr)
	c := dial(t, addr)
	c.send(stream("ping secret", "text panic"))
	<-inHook
	other.sendText("mine")
	eventually(t, "the other one to be next", func() bool {
		srv.queue.mu.Lock()
		defer srv.queue.mu.Unlock()
		return srv.queue.short.n > 0
	})
	close(gate)
	other.expectText("mine")
	other.sendFrame(true, ws.OpPing, []byte("own"))
	other.expectFrame(ws.OpPong, "own")
	for op := ws.OpCode(0); op != ws.OpClose; {
		op, _, _ = c.readFrame() // The pong may come first.
	}
	c.expectEOF()
}

// TestRefusalOfItsOwn: the answer to a request does not depend on the previous request of the worker.
func TestRefusalOfItsOwn(t *testing.T) {
	_, addr := newServer(t, Config{Workers: 1})
	first := connect(t, addr)
	first.send([]byte("HEAD / HTTP/1.1\r\nHost: x\r\n"))
	first.send([]byte("X: y\r\n\r\n"))
	if r := first.readResponse(); r.StatusCode != 405 {
		t.Fatalf("got %d, want 405", r.StatusCode)
	}
	c := connect(t, addr)
	c.send([]byte("HEAD it is not\n"))
	r := c.readResponse()
	if body, err := io.ReadAll(r.Body); r.StatusCode != 400 || err != nil || len(body) == 0 {
		t.Errorf("got %d, body %q, %v, want 400 with a body", r.StatusCode, body, err)
	}
}

// BenchmarkHandshake measures a handshake from its complete head to the bytes of its answer.
func BenchmarkHandshake(b *testing.B) {
	for name, head := range map[string][]byte{
		"short": []byte(handshakeHead),
		"browser": []byte(headPlus("User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
			"Accept: */*", "Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br", "Origin: https://example.org",
			"Sec-WebSocket-Extensions: permessage-deflate", "Cache-Control: no-cache", "Cookie: a=0123456789abcdef0123456789abcdef")),
	} {
		b.Run(name, func(b *testing.B) {
			var h handshaker
			h.init()
			b.ReportAllocs()
			for b.Loop() {
				if n, ok := endOfHead(head, 0); n != len(head) || !ok {
					b.Fatal("no end")
				}
				if refusal := h.req.parse(head); refusal != nil {
					b.Fatal(refusal)
				}
				if refusal := h.req.checkRequest("/ws", false); refusal != nil && name != "short" {
					b.Fatal(refusal)
				}
				if _, err := h.upgradeAnswer(0, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
