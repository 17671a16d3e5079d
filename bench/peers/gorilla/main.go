// Command gorilla is a broadcaster on github.com/gorilla/websocket.
//
// It follows the pattern of the library's chat example: one hub goroutine owns the
// set of clients, and each client has a goroutine that reads and one that writes,
// fed by a buffered channel, with pings, and a deadline for each write. As the
// documentation advises for one message to many connections, it is framed once, as a
// PreparedMessage; and the write buffers, which such messages do not need, come from
// a pool.
//
// Slow receivers, as in the example: one with [peer.Queue] messages waiting is closed,
// and so is one whose socket takes nothing for 10 s.
package main

import (
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/crier-ws/crier/bench/peers/internal/peer"
	"github.com/gorilla/websocket"
)

const (
	writeTime  = 10 * time.Second
	pongTime   = 60 * time.Second
	pingPeriod = pongTime * 9 / 10
)

type client struct {
	hub  *hub
	conn *websocket.Conn
	send chan *websocket.PreparedMessage // closed by the hub
}

type hub struct {
	join, leave chan *client
	messages    chan *websocket.PreparedMessage
}

// run owns the set of clients.
func (h *hub) run(greeting *websocket.PreparedMessage) {
	clients := make(map[*client]struct{})
	remove := func(c *client) {
		if _, ok := clients[c]; ok {
			delete(clients, c)
			close(c.send)
		}
	}
	for {
		select {
		case c := <-h.join:
			c.send <- greeting
			clients[c] = struct{}{}
		case c := <-h.leave:
			remove(c)
		case m := <-h.messages:
			for c := range clients {
				select {
				case c.send <- m:
				default:
					remove(c)
				}
			}
		}
	}
}

func (c *client) read() {
	defer func() {
		c.hub.leave <- c
		_ = c.conn.Close()
	}()
	c.conn.SetReadLimit(peer.MaxMessage)
	alive := func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongTime)) }
	c.conn.SetPongHandler(alive)
	_ = alive("")
	for {
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		m, err := websocket.NewPreparedMessage(kind, data)
		if err != nil {
			return
		}
		c.hub.messages <- m
	}
}

func (c *client) write() {
	ping := time.NewTicker(pingPeriod)
	defer ping.Stop()
	defer func() { _ = c.conn.Close() }()
	for {
		select {
		case m, ok := <-c.send:
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeTime))
			if !ok {
				_ = c.conn.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			if c.conn.WritePreparedMessage(m) != nil {
				return
			}
		case <-ping.C:
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeTime))
			if c.conn.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}

func main() {
	greeting, err := websocket.NewPreparedMessage(websocket.TextMessage, []byte(peer.Greeting))
	if err != nil {
		log.Fatal(err)
	}
	h := &hub{make(chan *client), make(chan *client), make(chan *websocket.PreparedMessage)}
	go h.run(greeting)
	upgrader := websocket.Upgrader{
		HandshakeTimeout: peer.HandshakeTime,
		ReadBufferSize:   1024,
		WriteBufferSize:  1024,
		WriteBufferPool:  new(sync.Pool),
		CheckOrigin:      func(*http.Request) bool { return true },
	}
	peer.Serve(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c := &client{h, conn, make(chan *websocket.PreparedMessage, peer.Queue)}
		h.join <- c
		// Both in new goroutines, so that what the request took can be collected.
		go c.write()
		go c.read()
	})
}
