package clients

import (
	"fmt"
	"strings"
	"testing"
)

// slow: a consumer that does not read makes the connection pause, and loses nothing.
func (f *fleet) slow(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	c := f.open(t, "c", proxy.url("room"), commandLine{"transport": transport, "buffer": 20_000}, commandLine{"iterate": true})
	c.await(t, "open")
	for i := range 400 {
		s.publish(t, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100)))
	}
	if h := c.await(t, "disconnect"); h.RetryIn != -1 || !strings.Contains(h.Reason, "behind") {
		t.Errorf("got %+v, want a pause", h)
	}
	if n := len(c.ids()); n != 0 {
		t.Errorf("got %d messages that nobody took", n)
	}
	f.command(t, commandLine{"op": "read", "client": c.name, "n": 120})
	c.await(t, "disconnect") // again, since what is left is more than it may keep
	f.command(t, commandLine{"op": "read", "client": c.name, "n": 280})
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
	// It waits for what comes, and for the end.
	f.command(t, commandLine{"op": "read", "client": c.name, "n": 2})
	c.awaitID(t, s.publish(t, "one more"))
	s.disconnect(t, 4000, "")
	c.await(t, "close")
	c.await(t, "done")
	if n := len(c.ids()); n != 401 {
		t.Errorf("got %d messages, want 401", n)
	}
	if n := len(proxy.requests("GET")); n < 3 {
		t.Errorf("got %d requests, want more than 2", n)
	}
}

// begin: where it begins is what the options say, or the URL.
func (f *fleet) begin(t *testing.T, transport string) {
	s := startJSServer(t)
	for i := range 5 {
		s.publish(t, fmt.Sprint(i))
	}
	for _, tt := range []struct {
		name, query string
		options     commandLine
		first       string
	}{
		{"since", "", commandLine{"since": s.ids[1]}, s.ids[2]},
		{"last", "", commandLine{"last": 2}, s.ids[3]},
		{"since in the URL", "?since=" + s.ids[0] + "&other=1", nil, s.ids[1]},
		{"last in the URL", "?last=1", nil, s.ids[4]},
		{"since before last", "?last=1", commandLine{"since": s.ids[2]}, s.ids[3]},
	} {
		options := commandLine{"transport": transport}
		for name, value := range tt.options {
			options[name] = value
		}
		c := f.open(t, tt.name, s.url("room"+tt.query), options, nil)
		if h := c.await(t, "message"); h.ID != tt.first {
			t.Errorf("%s: got %s first, want %s", tt.name, h.ID, tt.first)
		}
		if s.newest() != tt.first {
			c.awaitID(t, s.newest())
		}
		s.account(t, c, 0)
	}
	c := f.open(t, "another time", s.url("room"), commandLine{"transport": transport, "since": "before-7"}, nil)
	if h := c.await(t, "gap"); h.From != "before-7" || following(h.To) != s.ids[0] {
		t.Errorf("got %+v, want from before-7 to before %s", h, s.ids[0])
	}
	c.awaitID(t, s.newest())
	s.account(t, c, 1)
}

// blocked: something on the way refuses WebSockets; events get through. Later it does not.
func (f *fleet) blocked(t *testing.T) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	proxy.upgrades = "forbid"
	c := f.open(t, "c", proxy.url("room"), nil, nil)
	if h := c.await(t, "open"); h.Transport != "events" {
		t.Fatalf("got %s, want events", h.Transport)
	}
	if n := len(proxy.requests("Upgrade: websocket")); n != 2 {
		t.Errorf("got %d WebSockets before, want 2", n)
	}
	c.awaitID(t, s.publish(t, "by events"))
	c.send(t, "this cannot be")
	if h := c.await(t, "error"); !strings.Contains(h.Reason, "cannot publish") {
		t.Errorf("sending got %+v", h)
	}
	s.publish(t, "on the way")
	proxy.cut()
	if h := c.await(t, "open"); h.Transport != "events" {
		t.Fatalf("got %s, want events again", h.Transport)
	}
	proxy.set(func() { proxy.upgrades = "" })
	proxy.cut()
	s.publish(t, "meanwhile")
	if h := c.await(t, "open"); h.Transport != "websocket" {
		t.Fatalf("got %s, want a WebSocket", h.Transport)
	}
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
	c.send(t, "from here")
	if h := c.await(t, "message"); h.Data != "from here" {
		t.Errorf("got %+v, want what was sent", h)
	}
}

// hanging: something on the way answers nothing to who wants a WebSocket.
func (f *fleet) hanging(t *testing.T) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	proxy.upgrades = "hang"
	c := f.open(t, "c", proxy.url("room"), commandLine{"timeout": 1000}, nil)
	if h := c.await(t, "open"); h.Transport != "events" {
		t.Fatalf("got %s, want events", h.Transport)
	}
	c.awaitID(t, s.publish(t, "by events"))
	s.account(t, c, 0)
}

// heartbeats: what keeps events alive is a sign of life to the client.
func (f *fleet) heartbeats(t *testing.T) {
	s := startJSServer(t, "--ping-interval", "100ms")
	proxy := startCutter(t, s.addr)
	c := f.open(t, "c", proxy.url("room"), commandLine{"transport": "events", "silence": 3000}, nil)
	c.await(t, "open")
	// So many take longer than silence may, and a quarter more.
	if err := poll(fleetTimeout, func() error {
		if n := proxy.writes(); n < 45 {
			return fmt.Errorf("%d heartbeats", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(proxy.requests("GET")); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
	c.awaitID(t, s.publish(t, "at last"))
	s.account(t, c, 0)
}

// without: a client that may only receive needs no WebSocket. TestJSMissing has those that may send.
func (f *fleet) without(t *testing.T) {
	s := startJSServer(t)
	c := f.open(t, "c", s.url("room"), commandLine{"WebSocket": nil, "transport": "events"}, nil)
	if h := c.await(t, "open"); h.Transport != "events" {
		t.Errorf("got %s, want events", h.Transport)
	}
	c.awaitID(t, s.publish(t, "by events"))
	if n := len(c.happened()); n != 2 {
		t.Errorf("got %d events, want 2", n)
	}
}

// roused: the page says that there is a network again, or the clock that the machine slept. The
// connection is looked after, long before it has been silent for too long.
func (f *fleet) roused(t *testing.T, op string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	var more commandLine
	if f.page { // What a page is told, all clients in it hear.
		more = commandLine{"site": "http://" + s.addr}
	}
	c := f.open(t, "c", proxy.url("room"), nil, more)
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "before"))
	proxy.freeze()
	s.publish(t, "meanwhile")
	c.tell(t, op)
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
	if n := len(proxy.requests("GET")); n != 2 {
		t.Errorf("got %d requests, want 2", n)
	}
}
