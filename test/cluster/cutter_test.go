package cluster

import (
	"maps"
	"net"
	"sync"
	"testing"
)

// cutter is a TCP proxy whose connections can be cut and stalled.
type cutter struct {
	ln     net.Listener
	target string

	mu    sync.Mutex
	cond  *sync.Cond
	stall bool              // Guarded by mu.
	edit  func([]byte)      // Guarded by mu: changes bytes on their way in place; may be nil.
	conns map[net.Conn]bool // Guarded by mu.
	held  map[net.Conn]bool // Guarded by mu: stalled by hold; some may have ended.
}

func newCutter(t testing.TB, target string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{ln: ln, target: target, conns: make(map[net.Conn]bool)}
	c.cond = sync.NewCond(&c.mu)
	go c.run() // Ends with the listener.
	t.Cleanup(func() {
		ln.Close()
		c.set(false)
		c.letGo()
		c.cut()
	})
	return c
}

func (c *cutter) run() {
	for {
		from, err := c.ln.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", c.target)
		if err != nil {
			from.Close()
			continue
		}
		c.mu.Lock()
		c.conns[from], c.conns[to] = true, true
		c.mu.Unlock()
		// Both end with their connections.
		go c.copy(from, to)
		go c.copy(to, from)
	}
}

func (c *cutter) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		for c.stall || c.held[from] {
			c.cond.Wait()
		}
		if c.edit != nil {
			c.edit(buf[:n])
		}
		c.mu.Unlock()
		if n > 0 {
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			break
		}
	}
	for _, conn := range []net.Conn{to, from} {
		conn.Close()
		c.mu.Lock()
		delete(c.conns, conn)
		c.mu.Unlock()
	}
}

// set makes all connections stall, or continue.
func (c *cutter) set(stall bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stall = stall
	c.cond.Broadcast()
}

// change sets edit.
func (c *cutter) change(edit func([]byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edit = edit
}

// hold stalls the existing connections until they are cut or let go; new ones are not affected. Bytes that were read
// from a connection which ends meanwhile still arrive.
func (c *cutter) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = maps.Clone(c.conns)
}

// letGo ends what hold began.
func (c *cutter) letGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = nil
	c.cond.Broadcast()
}

// cut resets all connections.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
}
