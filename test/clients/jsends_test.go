package clients

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// full: a server that has no room says when to come back. A page of another site cannot see it,
// one of the server's own can.
func (f *fleet) full(t *testing.T, transport string) {
	for _, own := range []bool{false, true} {
		if own && !f.page {
			continue
		}
		s := startJSServer(t, "--max-conns", "1")
		first := f.open(t, fmt.Sprint("first ", own), s.url("room"), nil, nil)
		first.await(t, "open")
		var more commandLine
		if own {
			more = commandLine{"site": "http://" + s.addr}
		}
		c := f.open(t, fmt.Sprint("c ", own), s.url("room"), commandLine{"transport": transport}, more)
		h := c.await(t, "disconnect")
		if sees := own || !f.page; sees && (h.Status != 503 || h.RetryIn < 5000) || !sees && h.RetryIn > 1000 {
			t.Errorf("got %+v; whether it sees status 503, and 5 s at least: %t", h, sees)
		}
		first.tell(t, "close")
		first.await(t, "close")
		c.await(t, "open")
		c.awaitID(t, s.publish(t, "at last"))
	}
}

// closed: a back end closes the connection, and the client stays away.
func (f *fleet) closed(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	c := f.open(t, "c", proxy.url("room?closed"), commandLine{"transport": transport}, nil)
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "before"))
	s.disconnect(t, 4000, "enough, thanks")
	if h := c.await(t, "close"); h.Code != 4000 || h.Reason != "enough, thanks" {
		t.Errorf("got %+v, want 4000 and the reason", h)
	}
	// While another one comes back five times, it does not.
	other := f.open(t, "other", proxy.url("room?other"), commandLine{"transport": transport}, nil)
	other.await(t, "open")
	for range 5 {
		proxy.cut()
		other.await(t, "open")
	}
	if n := len(proxy.requests("?closed")); n != 1 {
		t.Errorf("got %d requests of the one that was closed, want 1", n)
	}
	f.command(t, commandLine{"op": "send", "client": c.name, "data": "too late"})
	if h := c.await(t, "error"); !strings.Contains(h.Reason, "not connected") {
		t.Errorf("sending got %+v", h)
	}
}

// expired: 4401 says that the token has expired. Who has another one comes back with it.
func (f *fleet) expired(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	options := commandLine{"transport": transport}
	c := f.open(t, "c", proxy.url("room"), options, commandLine{"tokens": []string{"first.a-b_c", "second"}})
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "before"))
	s.disconnect(t, 4401, "expired")
	if h := c.await(t, "disconnect"); h.Code != 4401 || h.RetryIn != 0 {
		t.Errorf("got %+v, want 4401 and at once", h)
	}
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "behind"))
	for _, token := range []string{"first.a-b_c", "second"} {
		word := map[string]string{"websocket": "bearer." + token, "events": "token=" + token}[transport]
		if n := len(proxy.requests(word)); n != 1 {
			t.Errorf("got %d requests with %s, want 1", n, word)
		}
	}
	// Again, before a message has come: not at once.
	s.disconnect(t, 4401, "expired")
	c.await(t, "disconnect")
	c.await(t, "open")
	s.disconnect(t, 4401, "expired")
	if h := c.await(t, "disconnect"); h.RetryIn == 0 {
		t.Errorf("got %+v, want not at once", h)
	}
	c.await(t, "open")
	s.account(t, c, 0)
	options["token"] = "only"
	alone := f.open(t, "alone", proxy.url("room"), options, nil)
	alone.await(t, "open")
	s.disconnect(t, 4401, "expired")
	if h := alone.await(t, "close"); h.Code != 4401 || h.Reason != "expired" {
		t.Errorf("got %+v, want 4401", h)
	}
}

// violation: who sends what it must not is closed with 1008, and comes back, but later than
// the longest wait. It has lost nothing.
func (f *fleet) violation(t *testing.T) {
	s := startJSServer(t, "--publish", "none")
	c := f.open(t, "c", s.url("room"), nil, nil)
	c.await(t, "open")
	c.send(t, "this must not be")
	if h := c.await(t, "disconnect"); h.Code != 1008 || h.RetryIn < 1000 {
		t.Errorf("got %+v, want 1008 and more than 1000 ms", h)
	}
	s.publish(t, "meanwhile")
	c.await(t, "open")
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
}

// tooLarge: who sends too large a message would do it again.
func (f *fleet) tooLarge(t *testing.T) {
	s := startJSServer(t, "--max-message", "1KiB")
	c := f.open(t, "c", s.url("room"), nil, nil)
	c.await(t, "open")
	c.send(t, strings.Repeat("x", 1025))
	if h := c.await(t, "close"); h.Code != 1009 {
		t.Errorf("got %+v, want 1009", h)
	}
}

// refused: what is wrong with the request is known in Node, and the client gives up.
func (f *fleet) refused(t *testing.T, transport string) {
	s := startJSServer(t, "--path", "/channels")
	c := f.open(t, "c", s.url("elsewhere/room"), commandLine{"transport": transport}, nil)
	if f.page { // A page of another site is not told.
		c.await(t, "disconnect")
		c.await(t, "disconnect")
		return
	}
	if h := c.await(t, "close"); h.Status != 404 || h.Code != 1006 {
		t.Errorf("got %+v, want status 404", h)
	}
	// Once it has been connected it does not: what another request is told may be about that one.
	c = f.open(t, "auto", s.url("channels/room"), nil, nil)
	c.await(t, "open")
	s.flags = append(s.flags, "--path", "/moved")
	s.restart(t, syscall.SIGTERM)
	for c.await(t, "disconnect").Status != 404 {
	}
}
