package clients

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestJSNode is clients/js in Node, with Node's own WebSocket.
func TestJSNode(t *testing.T) {
	t.Parallel()
	needNode(t)
	testJS(t, startFleet(t, false, "node", append(experimental(t), "fleet_node.mjs")...))
}

// TestJSChromium is clients/js in a page.
func TestJSChromium(t *testing.T) {
	t.Parallel()
	needNode(t)
	needTools(t, "chromium")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	testJS(t, startFleet(t, true, "node", "fleet_page.mjs", browser))
}

// TestJSInjected is clients/js in Node with the WebSocket of the package ws.
func TestJSInjected(t *testing.T) {
	t.Parallel()
	needNode(t)
	f := startFleet(t, false, "node", "fleet_node.mjs", "ws")
	t.Run("cuts", func(t *testing.T) { f.cuts(t, "websocket") })
	t.Run("blocked", f.blocked)
	t.Run("dead", func(t *testing.T) { f.dead(t, "websocket") })
	t.Run("asleep", func(t *testing.T) { f.roused(t, "sleep") }) // the last: it moves the clock
}

// experimental is what Node before 22 wants to be told to have a WebSocket.
func experimental(t *testing.T) []string {
	t.Helper()
	const flag = "--experimental-websocket"
	out := runScript(t, scriptTimeout, nodeDir, "node", "-p", fmt.Sprintf("process.allowedNodeEnvironmentFlags.has('%s')", flag))
	if strings.TrimSpace(out) == "true" {
		return []string{flag}
	}
	return nil
}

var transports = []string{"websocket", "events"}

// testJS is all that the client promises.
func testJS(t *testing.T, f *fleet) {
	each := func(name string, run func(t *testing.T, transport string)) {
		for _, transport := range transports {
			t.Run(name+" "+transport, func(t *testing.T) {
				t.Parallel()
				run(t, transport)
			})
		}
	}
	once := func(name string, run func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
	each("cuts", f.cuts)
	each("dead", f.dead)
	each("dark", f.dark)
	each("restless", f.restless)
	each("full", f.full)
	each("closed", f.closed)
	each("expired", f.expired)
	each("slow", f.slow)
	each("begin", f.begin)
	each("refused", f.refused)
	once("restarts", f.restarts)
	once("blocked", f.blocked)
	once("hanging", f.hanging)
	once("violation", f.violation)
	once("too large", f.tooLarge)
	once("heartbeats", f.heartbeats)
	once("without", f.without)
	if f.page {
		once("online", func(t *testing.T) { f.roused(t, "online") })
	}
}

// payload is the i-th of messages of all kinds. None has a carriage return, which events turn
// into line feeds.
func payload(i int) (data string, binary bool) {
	switch i % 8 {
	case 0:
		return fmt.Sprintf("%d", i), false
	case 1:
		return fmt.Sprintf("안녕하세요 %d\nid: x-1\n\n", i), false
	case 2:
		return "\x00\xff\n" + strings.Repeat("\x80", i), true
	case 3:
		return "", false
	case 4:
		return strings.Repeat("\n", 1000), false // events have it in base64
	case 5:
		return "", true
	case 6:
		return "\ufeffbyte order mark", false
	default:
		return strings.Repeat("x", i), false
	}
}

// cuts: the connection is reset every few messages, anywhere in a message.
func (f *fleet) cuts(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	proxy.limit = func() int { return 3000 + rand.IntN(6000) }
	c := f.open(t, "c", proxy.url("room?mine=a%20b"), commandLine{"transport": transport}, nil)
	c.await(t, "open")
	for i := range 300 {
		data, binary := payload(i)
		if err := s.try(data, binary); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
	if got := len(c.ids()); got != len(s.ids) {
		t.Errorf("got %d messages, want %d", got, len(s.ids))
	}
	if n := len(proxy.requests("GET /room?mine=a%20b")); n < 4 {
		t.Errorf("got %d requests that keep the query, want more than 3", n)
	}
}

// ids are those of the messages that came.
func (c *jsClient) ids() (ids []string) {
	for _, h := range c.happened() {
		if h.Type == "message" {
			ids = append(ids, h.ID)
		}
	}
	return ids
}

// dead: what is open goes silent, and nobody says so. Another connection takes its place.
func (f *fleet) dead(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	c := f.open(t, "c", proxy.url("room"), commandLine{"transport": transport, "silence": 500}, nil)
	c.await(t, "open")
	for range 3 {
		c.awaitID(t, s.publish(t, "before"))
		proxy.freeze()
		for i := range 20 {
			s.publish(t, fmt.Sprintf("meanwhile %d", i))
		}
		c.awaitID(t, s.newest())
	}
	s.account(t, c, 0)
	for _, h := range c.happened() {
		if h.Type == "disconnect" {
			t.Errorf("got %+v, want nothing to be seen of it", h)
		}
	}
	if n := len(proxy.requests("GET")); n < 4 {
		t.Errorf("got %d requests, want more than 3", n)
	}
}

// dark: nothing gets through any more, and the client says so; then all does again.
func (f *fleet) dark(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	c := f.open(t, "c", proxy.url("room"), commandLine{"transport": transport, "silence": 500, "timeout": 500}, nil)
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "before"))
	proxy.set(func() { proxy.dark = true })
	proxy.freeze()
	if h := c.await(t, "disconnect"); h.Code != 1006 || h.Reason != "timeout" {
		t.Errorf("got %+v, want 1006 and timeout", h)
	}
	s.publish(t, "meanwhile")
	proxy.set(func() { proxy.dark = false })
	proxy.cut()
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
}

// restless: connections are replaced all the time, while messages come.
func (f *fleet) restless(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	c := f.open(t, "c", proxy.url("room"), commandLine{"transport": transport, "silence": 8}, nil)
	c.await(t, "open")
	for i := 0; i < 200 || len(proxy.requests("GET")) < 10; i++ {
		s.publish(t, fmt.Sprint(i))
		time.Sleep(rand.N(30 * time.Millisecond)) // As messages come, not to wait.
	}
	c.awaitID(t, s.newest())
	s.account(t, c, 0)
	t.Logf("%d connections", len(proxy.requests("GET")))
}

// restarts: the server is replaced by another one that knows nothing of the past, while a
// back end publishes. Each client sees a gap each time, and all that was published behind it.
func (f *fleet) restarts(t *testing.T) {
	s := startJSServer(t)
	var clients []*jsClient
	for _, transport := range append(transports, "auto") {
		c := f.open(t, transport, s.url("room"), commandLine{"transport": transport}, nil)
		c.await(t, "open")
		clients = append(clients, c)
	}
	n := 0
	flow := func(count int) {
		for range count {
			n++
			s.publish(t, fmt.Sprintf("message %d", n))
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		flow(50)
		// Not all of them are there yet when the server goes.
		published, stopped := make(chan struct{}), make(chan struct{})
		go func() { // ends when the server is there again; awaited below
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-published:
					return
				default:
					_ = s.try(fmt.Sprintf("%v %d.%d", sig, n, i), false)
				}
			}
		}()
		s.restart(t, sig)
		close(published)
		<-stopped
		flow(50)
		for _, c := range clients {
			c.await(t, "gap")
		}
		flow(50)
	}
	for _, c := range clients {
		c.awaitID(t, s.newest())
		s.account(t, c, 4)
	}
}

// full: a server that has no room says when to come back. A page of another site cannot see it.
func (f *fleet) full(t *testing.T, transport string) {
	s := startJSServer(t, "--max-conns", "1")
	first := f.open(t, "first", s.url("room"), nil, nil)
	first.await(t, "open")
	c := f.open(t, "c", s.url("room"), commandLine{"transport": transport}, nil)
	h := c.await(t, "disconnect")
	if !f.page && (h.Status != 503 || h.RetryIn < 5000) {
		t.Errorf("got %+v, want status 503 and 5 s at least", h)
	}
	f.command(t, commandLine{"op": "close", "client": first.name})
	first.await(t, "close")
	c.await(t, "open")
	c.awaitID(t, s.publish(t, "at last"))
	if n := len(c.happened()); !f.page && n != 3 {
		t.Errorf("got %d events, want disconnect, open and message", n)
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
