// Command gws is a broadcaster on github.com/lxzan/gws.
//
// It follows the library's "best practice" and "broadcast" examples: an upgrader
// behind net/http, a goroutine per connection for ReadLoop, and a Broadcaster for each
// message, which frames it once and puts it into the connections' queues of
// asynchronous writes. A queue's goroutine lives only while there is something in it.
// ParallelEnabled is off, unlike in the example: it gives up the order of messages.
//
// Slow receivers: the queue has no bound; memory grows until the connection fails. (The
// examples close clients that send no pings, by a deadline for reading and writing, and
// so rely on clients that do; these here need not.)
package main

import (
	"net/http"
	"sync"

	"github.com/crier-ws/crier/bench/peers/internal/peer"
	"github.com/lxzan/gws"
)

// handler gets the events of all connections.
type handler struct {
	gws.BuiltinEventHandler

	mu    sync.RWMutex
	conns map[*gws.Conn]struct{}
}

// OnOpen queues the greeting and lets the connection have what is broadcast from then
// on, in one step.
func (h *handler) OnOpen(c *gws.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.WriteAsync(gws.OpcodeText, []byte(peer.Greeting), nil)
	h.conns[c] = struct{}{}
}

func (h *handler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *handler) OnPing(c *gws.Conn, payload []byte) {
	_ = c.WritePong(payload)
}

func (h *handler) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	defer func() { _ = b.Close() }()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.conns {
		_ = b.Broadcast(c)
	}
}

func main() {
	h := &handler{conns: make(map[*gws.Conn]struct{})}
	upgrader := gws.NewUpgrader(h, &gws.ServerOption{
		Recovery:           gws.Recovery,
		ReadMaxPayloadSize: peer.MaxMessage,
		HandshakeTimeout:   peer.HandshakeTime,
	})
	peer.Serve(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		// In a new goroutine, so that what the request took can be collected.
		go conn.ReadLoop()
	})
}
