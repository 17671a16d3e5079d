// Command nbio is a broadcaster on github.com/lesismal/nbio.
//
// It follows the library's examples for very many connections: an nbhttp engine with
// non-blocking I/O (its default), so that all connections are on pollers and none has
// a goroutine, the payloads released to the pool after each message, and WriteMessage
// in a loop, which never blocks. The read buffer is one per poller.
//
// Slow receivers: what the socket does not take is kept, up to MaxWriteBufferSize per
// connection (4 MiB here, which is also the floor's bound; no limit by default), beyond
// which the engine closes it.
//
// This version does not hand over messages without any payload, so they are lost.
package main

import (
	"log"
	"net/http"
	"sync"

	"github.com/crier-ws/crier/bench/peers/internal/peer"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
)

// room is the set of connections.
type room struct {
	mu    sync.RWMutex
	conns map[*websocket.Conn]struct{}
}

// open greets the connection and lets it have what is broadcast from then on, in one
// step.
func (r *room) open(c *websocket.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.WriteMessage(websocket.TextMessage, []byte(peer.Greeting)) == nil {
		r.conns[c] = struct{}{}
	}
}

// closed is called in another goroutine than the write that fails.
func (r *room) closed(c *websocket.Conn, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *room) broadcast(_ *websocket.Conn, kind websocket.MessageType, data []byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c := range r.conns {
		_ = c.WriteMessage(kind, data)
	}
}

func main() {
	logging.SetLevel(logging.LevelError)
	r := &room{conns: make(map[*websocket.Conn]struct{})}
	upgrader := websocket.NewUpgrader()
	upgrader.KeepaliveTime = 0 // clients may be silent
	upgrader.MessageLengthLimit = peer.MaxMessage
	upgrader.CheckOrigin = func(*http.Request) bool { return true }
	upgrader.OnOpen(r.open)
	upgrader.OnClose(r.closed)
	upgrader.OnMessage(r.broadcast)

	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                      "tcp",
		Addrs:                        []string{peer.Addr()},
		MaxLoad:                      1 << 20,
		MaxWriteBufferSize:           4 << 20,
		MaxWebsocketFramePayloadSize: peer.MaxMessage,
		ReleaseWebsocketPayload:      true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = upgrader.Upgrade(w, req, nil) // which answers errors itself
		}),
	})
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	select {}
}
