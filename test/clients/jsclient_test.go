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
	each("gap", f.gap)
	each("jitter", f.jitter)
	each("dead", f.dead)
	each("dark", f.dark)
	each("restless", f.restless)
	each("full", f.full)
	each("closed", f.closed)
	each("expired", f.expired)
	each("tokens", f.tokens)
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
	// Chromium drops the received part of an answer that breaks, so the client may receive nothing.
	progress := false
	for _, h := range c.happened() {
		if h.Type == "disconnect" && progress && h.RetryIn > 20 {
			t.Errorf("waits for %.0f ms, want at most 20 after a message", h.RetryIn)
		}
		progress = h.Type == "message" || progress && h.Type != "disconnect"
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

// gap: the connection is reset at each place in what comes before the gap, and in it. It is told
// once.
func (f *fleet) gap(t *testing.T, transport string) {
	s := startJSServer(t)
	proxy := startCutter(t, s.addr)
	limit := 60
	proxy.limit = func() int {
		limit += 6
		return limit
	}
	options := commandLine{"transport": transport, "since": "before-7", "maxBackoff": 20}
	c := f.open(t, "c", proxy.url("room"), options, nil)
	if h := c.await(t, "gap"); h.From != "before-7" {
		t.Errorf("got %+v, want a gap from before-7", h)
	}
	// The position is after the gap, without a message.
	proxy.cut()
	c.await(t, "disconnect")
	s.publish(t, "meanwhile")
	c.awaitID(t, s.newest())
	s.account(t, c, 1)
	if n := len(proxy.requests("since=before-7")); n < 20 {
		t.Errorf("got %d requests, want 20 at least", n)
	}
}

// jitter: where nobody answers it waits longer and longer, and a random part of that.
func (f *fleet) jitter(t *testing.T, transport string) {
	const first, most, tries = 20, 300, 14
	c := f.open(t, "c", "ws://"+freeAddr(t)+"/room", commandLine{"transport": transport, "maxBackoff": most}, nil)
	waits := map[float64]bool{}
	longest := 0.0
	for i := range tries {
		h := c.await(t, "disconnect")
		if bound := float64(min(most, first<<i)); h.Code != 1006 || h.RetryIn >= bound {
			t.Errorf("try %d: got %+v, want 1006 and less than %.0f ms", i, h, bound)
		}
		longest = max(longest, h.RetryIn)
		waits[h.RetryIn] = true
	}
	if len(waits) < tries/2 || longest < most/4 {
		t.Errorf("got %v, want many different ones, up to %d ms", waits, most)
	}
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
