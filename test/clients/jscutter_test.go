package clients

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A cutter is a TCP proxy in front of a server, with all that goes wrong on the way.
type cutter struct {
	// Immutable after startCutter.
	ln     net.Listener
	server string
	wg     sync.WaitGroup // of all that it started

	mu    sync.Mutex
	pairs map[*cutPair]bool // guarded by mu: what is open
	heads []string          // guarded by mu: the request heads that came
	sent  int               // guarded by mu: how often something went to a client
	// Guarded by mu: what becomes of those that come.
	limit    func() int // after so many bytes to the client, the connection is reset
	upgrades string     // "forbid": 403 to who wants a WebSocket; "hang": no answer
	dark     bool       // nothing is answered
}

// A cutPair is a client's connection, and the one to the server.
type cutPair struct {
	*cutter
	client, server net.Conn
	limit          int  // of bytes to the client; 0 for none
	frozen         bool // guarded by mu: nothing goes through, and nobody is told
}

// startCutter starts a cutter that ends with t.
func startCutter(t *testing.T, server string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{ln: ln, server: server, pairs: map[*cutPair]bool{}}
	c.wg.Go(c.accept) // ends with ln; the cleanup waits for it
	t.Cleanup(func() {
		ln.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) url(channel string) string { return "ws://" + c.ln.Addr().String() + "/" + channel }

func (c *cutter) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			c.cut() // who came while it ended
			return
		}
		p := &cutPair{cutter: c, client: conn}
		c.mu.Lock()
		c.pairs[p] = true
		c.mu.Unlock()
		c.wg.Go(p.run) // ends when its connections do; the cleanup waits for it
	}
}

// set changes what becomes of those that come.
func (c *cutter) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// cut resets all connections.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.pairs {
		p.resetLocked()
	}
}

// freeze lets nothing more through what is in use. Node's fetch may have connected once more,
// for the next request: that goes on.
func (c *cutter) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.pairs {
		p.frozen = p.frozen || p.server != nil
	}
}

// requests are the request heads that came and have a word in them, whatever its case.
func (c *cutter) requests(word string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.heads), func(head string) bool { return !strings.Contains(strings.ToLower(head), strings.ToLower(word)) })
}

// writes is how often something went to a client.
func (c *cutter) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (p *cutPair) resetLocked() {
	for _, conn := range []net.Conn{p.client, p.server} {
		if conn != nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}
}

func (p *cutPair) run() {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, p)
		p.client.Close()
		if p.server != nil {
			p.server.Close()
		}
	}()
	head, ok := p.head()
	if !ok {
		return
	}
	server, err := net.Dial("tcp", p.cutter.server)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	if _, err := server.Write(head); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.pipe(server, p.client, 0) }) // ends with either connection; awaited below
	p.pipe(p.client, server, p.limit)
	wg.Wait()
}

// head reads a request head, and reports whether to forward it to the server.
func (p *cutPair) head() ([]byte, bool) {
	var head []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(head, []byte("\r\n\r\n")) {
		n, err := p.client.Read(buf)
		if err != nil {
			return nil, false
		}
		head = append(head, buf[:n]...)
	}
	p.mu.Lock()
	p.heads = append(p.heads, string(head))
	upgrades, dark := p.upgrades, p.dark
	if p.cutter.limit != nil {
		p.limit = p.cutter.limit()
	}
	p.mu.Unlock()
	wants := bytes.Contains(bytes.ToLower(head), []byte("upgrade: websocket"))
	switch {
	case dark, wants && upgrades == "hang":
		_, _ = p.client.Read(buf) // until it has had enough
		return nil, false
	case wants && upgrades == "forbid":
		_, _ = p.client.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		return nil, false
	}
	return head, true
}

// pipe copies until src ends, or until limit bytes went, if that is not 0.
func (p *cutPair) pipe(dst, src net.Conn, limit int) {
	buf := make([]byte, 16<<10)
	for left := limit; ; {
		n, err := src.Read(buf)
		p.mu.Lock()
		frozen := p.frozen
		p.sent++
		p.mu.Unlock()
		if frozen {
			if err != nil {
				return
			}
			continue
		}
		if limit > 0 {
			n = min(n, left)
			left -= n
		}
		if _, failed := dst.Write(buf[:n]); failed != nil || limit > 0 && left == 0 {
			p.mu.Lock()
			p.resetLocked()
			p.mu.Unlock()
			return
		}
		if err != nil {
			_ = dst.(*net.TCPConn).CloseWrite()
			return
		}
	}
}
