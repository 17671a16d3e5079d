package broadcast

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/logtest"
	"github.com/gobwas/ws"
)

// request sends a request for a target, with further header lines.
func (c *client) request(target string, lines ...string) {
	c.t.Helper()
	c.send([]byte(strings.Replace(headPlus(lines...), "GET /ws ", "GET "+target+" ", 1)))
}

func TestAuthorize(t *testing.T) {
	var log logtest.Buffer
	cfg := Config{
		Channels: true,
		Logger:   slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Authorize: func(r *http.Request, channel string) (Grant, error) {
			switch r.URL.Query().Get("token") {
			case "good":
				if channel != "news/sport" || r.RemoteAddr == "" {
					return Grant{}, fmt.Errorf("asked for %q of %q", channel, r.RemoteAddr)
				}
				return Grant{Publish: true}, nil
			case "wrapped":
				return Grant{}, fmt.Errorf("the key is of yesterday: %w", &Refusal{http.StatusUnauthorized, "no"})
			case "ok":
				return Grant{}, &Refusal{200, "no"}
			case "panic":
				panic("a fault")
			}
			return Grant{}, errors.New("who are you")
		},
	}
	srv, addr := newServer(t, cfg)
	for _, lines := range [][]string{nil, {"Sec-WebSocket-Protocol: crier.v1"}} {
		c := connect(t, addr)
		c.request("/news/sport?token=good", lines...)
		c.expectUpgrade()
		c.sendText("may I")
		if m, _ := c.readMessage(); lines == nil && string(m.Payload) != "may I" {
			t.Errorf("got %q", m.Payload)
		}
		c.Close()
	}
	for _, tt := range []struct {
		query, body, header string
		status              int
	}{
		{"token=wrapped", "no\n", "Bearer", 401},
		{"token=ok", "refused with a status that is no error's\n", "", 500},
		{"token=s3cret%7", "who are you\n", "", 403},
		{"", "who are you\n", "", 403},
		{"last=5?token=eyJs3cret", "last is \"5?token=eyJs3cret\", want a number of messages\n", "", 400},
		{"since=k3-4?token=eyJs3cret", "since is \"k3-4?token=eyJs3cret\", want an ID like k3j5b2qa-42\n", "", 400},
	} {
		c := connect(t, addr)
		c.request("/news/sport?" + tt.query)
		r := c.readResponse()
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != tt.status || string(body) != tt.body || r.Header.Get("WWW-Authenticate") != tt.header {
			t.Errorf("%s: got %d, %q, %v", tt.query, r.StatusCode, body, r.Header)
		}
	}
	for _, target := range []string{"/news&token=eyJs3cret", "/news/eyJs3cret"} { // Where they do not belong.
		c := connect(t, addr)
		c.request(target)
		if r := c.readResponse(); r.StatusCode != 403 {
			t.Errorf("%s: got %d", target, r.StatusCode)
		}
	}
	c := connect(t, addr)
	c.request("/news/sport?token=panic")
	c.expectEOF()
	if st := srv.Stats(); st.Denied != 6 || st.Refused[401] != 1 || st.Refused[403] != 4 {
		t.Errorf("got %d denied, %v refused", st.Denied, st.Refused)
	}
	eventually(t, "all to be gone", func() bool { return srv.Stats().Open == 0 })
	for _, want := range []string{"the key is of yesterday", "level=WARN", "channel=news/sport", "status=401"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "s3cret") || strings.Contains(log.String(), "token=") {
		t.Errorf("the log has a token:\n%s", log.String())
	}
	if n := strings.Count(log.String(), "level=WARN"); n > 3 { // One a second.
		t.Errorf("the log has %d warnings:\n%s", n, log.String())
	}
}

// TestGrantPublish: a connection that may not publish still receives messages, and its pings are answered.
func TestGrantPublish(t *testing.T) {
	srv, addr := newServer(t, Config{Authorize: func(r *http.Request, _ string) (Grant, error) {
		return Grant{Publish: r.URL.Path == "/may"}, nil
	}})
	may, mute, fragments := dialPath(t, addr, "/may"), dialPath(t, addr, "/"), dialPath(t, addr, "/")
	may.sendText("hello")
	for _, c := range []*client{may, mute, fragments} {
		c.expectText("hello")
	}
	mute.sendFrame(true, ws.OpPing, []byte("p"))
	mute.expectFrame(ws.OpPong, "p")
	mute.sendText("me too")
	mute.expectClose(ws.StatusPolicyViolation)
	fragments.sendFrame(false, ws.OpBinary, nil)
	fragments.expectClose(ws.StatusPolicyViolation)
	may.sendText("still there")
	may.expectText("still there")
	mute.Close()
	fragments.Close()
	eventually(t, "both to be gone", func() bool { return srv.Stats().Disconnects["receive-only"] == 2 })
	if n := srv.Stats().Messages; n != 2 {
		t.Errorf("got %d messages, want 2", n)
	}
}

// TestGrantUntil: a connection whose grant has an end is closed then, whatever its form, and no others are.
func TestGrantUntil(t *testing.T) {
	t.Parallel()
	begins := time.Now()
	srv, addr := newServer(t, Config{Shards: 1, Channels: true, CloseTimeout: 200 * time.Millisecond, Authorize: func(r *http.Request, _ string) (Grant, error) {
		switch d, err := time.ParseDuration(r.URL.Query().Get("for")); {
		case r.URL.Path == "/a/never":
			return Grant{Until: time.Unix(1<<61, 0)}, nil
		case err == nil:
			return Grant{Publish: true, Until: begins.Add(d)}, nil
		}
		return Grant{}, nil
	}})
	ever, long := dialPath(t, addr, "/a"), dialPath(t, addr, "/a?for=24h")
	over, short := dialPath(t, addr, "/b?for=-1h"), dialPath(t, addr, "/b?for=1s")
	events := connect(t, addr)
	events.send([]byte("GET /a?for=1s HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"))
	over.expectClose(4401)
	// The message is not published: see below. The write may fail, because the server closes the connection soon.
	_, _ = over.Write(clientFrame(nil, true, ws.OpText, []byte("too late")))
	short.expectClose(4401)
	if time.Since(begins) < time.Second {
		t.Error("it ended too early")
	}
	r := events.readResponse()
	if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), "event: close\ndata: 4401 the token has expired\n\n") {
		t.Errorf("events: got %q, %v", body, err)
	}
	for _, c := range []*client{over, short, events} {
		c.Close()
	}
	eventually(t, "three to be gone", func() bool { return srv.Stats().Disconnects["expired"] == 3 })
	if n := srv.Stats().Messages; n != 0 {
		t.Errorf("%d messages were published after the permission had ended", n)
	}
	publishTo(t, srv, "a", "still there")
	ever.expectText("still there")
	long.expectText("still there")
	if n := expiring(srv); n != 1 {
		t.Errorf("%d are to end, want 1", n)
	}
	long.Close()
	eventually(t, "it to be forgotten", func() bool { return expiring(srv) == 0 })
}

// expiring returns how many connections have a grant with an end.
func expiring(srv *Server) (n int) {
	var mu sync.Mutex
	srv.eachShard(func(_ int, s *shard) {
		mu.Lock()
		defer mu.Unlock()
		n += len(s.expiries.heap)
		if len(s.expiries.index) != len(s.expiries.heap) {
			n = -1 << 20
		}
	})
	return n
}

// TestExpiriesAtOnce: more grants end at the same time than one tick handles.
func TestExpiriesAtOnce(t *testing.T) {
	const conns = maxExpiriesPerTick + 100
	until := time.Now().Add(500 * time.Millisecond)
	srv, addr := newServer(t, Config{Shards: 1, Authorize: func(*http.Request, string) (Grant, error) {
		return Grant{Until: until}, nil
	}})
	clients := make([]*client, conns)
	for i := range clients {
		clients[i] = dial(t, addr)
	}
	for _, c := range clients {
		c.expectClose(4401)
		c.Close()
	}
	eventually(t, "all to be gone", func() bool { return srv.Stats().Open == 0 })
	if n := expiring(srv); n != 0 {
		t.Errorf("%d are still to end", n)
	}
}

// TestExpiries: the connection whose grant ends first is always the first one.
func TestExpiries(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var l expiries
	model := make(map[*Conn]int64)
	for range 20000 {
		switch k := rnd.IntN(3); {
		case k < 2 && len(model) < 3000:
			c := new(Conn)
			model[c] = rnd.Int64N(1000)
			l.schedule(c, time.UnixMilli(model[c]))
		case len(model) > 0:
			c := l.heap[rnd.IntN(len(l.heap))].c
			l.cancel(c)
			l.cancel(c)
			delete(model, c)
		}
		if len(l.heap) != len(model) || len(l.index) != len(model) {
			t.Fatalf("got %d and %d, want %d", len(l.heap), len(l.index), len(model))
		}
		if len(model) > 0 && rnd.IntN(50) == 0 {
			if first, want := l.heap[0].at, slices.Min(slices.Collect(maps.Values(model))); first != want || model[l.heap[0].c] != want {
				t.Fatalf("the first ends at %d, want %d", first, want)
			}
		}
	}
}

// TestTokenProtocol: a subprotocol that is a token is not selected.
func TestTokenProtocol(t *testing.T) {
	_, addr := newServer(t, Config{Authorize: func(*http.Request, string) (Grant, error) { return Grant{}, nil }})
	_, without := newServer(t, Config{})
	for _, tt := range []struct {
		addr, offer, want string
	}{
		{addr, "bearer.a.b.c, chat", "chat"},
		{addr, "chat ,bearer.a.b.c", "chat"},
		{addr, "bearer.a.b.c, crier.v1", "crier.v1"},
		{addr, "bearer.a.b.c", ""},
		{addr, "bearer.a.b.c\r\nSec-WebSocket-Protocol: chat", "chat"},
		{addr, "bearer.a.b.c \t", ""},
		{addr, "bearer, chat", "bearer"},
		{without, "bearer.a.b.c, chat", "bearer.a.b.c"},
	} {
		c := connect(t, tt.addr)
		c.request("/", "Sec-WebSocket-Protocol: "+tt.offer)
		if tt.want == "" {
			if r := c.readResponse(); r.StatusCode != 400 {
				t.Errorf("%s: got %d, want 400", tt.offer, r.StatusCode)
			}
			continue
		}
		if got := c.expectUpgrade().Header.Get("Sec-WebSocket-Protocol"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.offer, got, tt.want)
		}
	}
}
