package clients

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// full: a server that has no room says when to come back, to pages of its own site and of others.
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
		if h.Status != 503 || h.RetryIn < 5000 {
			t.Errorf("got %+v, want status 503 and 5 s at least", h)
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
	more := commandLine{"tokens": []string{"first.a-b_c", "second"}}
	if f.page { // Without --auth, pages of other sites may not send the header.
		more["site"] = "http://" + proxy.ln.Addr().String()
	}
	c := f.open(t, "c", proxy.url("room"), options, more)
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "before"))
	s.disconnect(t, 4401, "expired")
	if h := c.await(t, "disconnect"); h.Code != 4401 || h.RetryIn != 0 {
		t.Errorf("got %+v, want 4401 and at once", h)
	}
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "behind"))
	for _, token := range []string{"first.a-b_c", "second"} {
		word := map[string]string{"websocket": "bearer." + token, "events": "Authorization: Bearer " + token}[transport]
		if n := len(proxy.requests(word)); n != 1 {
			t.Errorf("got %d requests with %s, want 1", n, word)
		}
	}
	// Again before a message has arrived: not at once.
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
	delete(more, "tokens")
	alone := f.open(t, "alone", proxy.url("room"), options, more)
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

// refused: something is wrong with the request, and the client gives up.
func (f *fleet) refused(t *testing.T, transport string) {
	s := startJSServer(t, "--path", "/channels")
	c := f.open(t, "c", s.url("elsewhere/room"), commandLine{"transport": transport}, nil)
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

// tokens: the server lets in who bears a token, until that expires.
func (f *fleet) tokens(t *testing.T, transport string) {
	secret := rand.Text() + rand.Text()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startJSServer(t, "--auth", file, "--auth-leeway", "0s")
	token := func(key string, life time.Duration) string {
		claims := fmt.Sprintf(`{"exp": %d, "crier": {"join": ["room"]}}`, time.Now().Add(life).Unix())
		signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(claims))
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	options := commandLine{"transport": transport}
	short, long := token(secret, 5*time.Second), token(secret, time.Hour)
	c := f.open(t, "renews", s.url("room"), options, commandLine{"tokens": []string{short, long}})
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "before"))
	if h := c.await(t, "disconnect"); h.Code != 4401 {
		t.Errorf("got %+v, want 4401", h)
	}
	s.publish(t, "meanwhile")
	c.await(t, "open")
	c.awaitID(t, s.newest())
	s.account(t, c, 0)

	bad := token(secret+"!", time.Hour)
	c = f.open(t, "is told at last", s.url("room"), options, commandLine{"tokens": []string{bad, bad, long}})
	if h := c.await(t, "disconnect"); h.Status != 401 {
		t.Errorf("got %+v, want status 401", h)
	}
	c.await(t, "open")
	options["token"] = bad
	c = f.open(t, "has one", s.url("room"), options, nil)
	if h := c.await(t, "close"); h.Status != 401 {
		t.Errorf("got %+v, want status 401", h)
	}
	options["token"] = long
	c = f.open(t, "elsewhere", s.url("other"), options, nil)
	if h := c.await(t, "close"); h.Status != 403 {
		t.Errorf("got %+v, want status 403", h)
	}
}
