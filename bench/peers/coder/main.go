// Command coder is a broadcaster on github.com/coder/websocket.
//
// It follows the pattern of the library's chat example: a set of members under a
// mutex, each with a buffered channel that one goroutine empties into the connection,
// with a time limit for each write. The example only publishes over HTTP and leaves
// reading to CloseRead; here the handler's goroutine reads, with a context of its own,
// as the documentation advises.
//
// Slow receivers, as in the example: one with too many messages waiting is closed with
// status 1008 (after [peer.Queue] messages; the example has 16), and so is one to which
// a write takes more than 5 s.
package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/crier-ws/crier/bench/peers/internal/peer"
)

const writeTime = 5 * time.Second

type message struct {
	kind websocket.MessageType
	data []byte
}

type member struct {
	conn    *websocket.Conn
	waiting chan message
}

type room struct {
	mu      sync.Mutex
	members map[*member]struct{}
}

// enter adds a member, with the greeting as its first message.
func (r *room) enter(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.waiting <- message{websocket.MessageText, []byte(peer.Greeting)}
	r.members[m] = struct{}{}
}

func (r *room) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
}

// publish never waits for a receiver.
func (r *room) publish(msg message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.members {
		select {
		case m.waiting <- msg:
		default:
			delete(r.members, m)
			// Ends the reading, and with that the member. It waits for the peer.
			go func() { _ = m.conn.Close(websocket.StatusPolicyViolation, "too slow") }()
		}
	}
}

// write sends what waits, until the context ends or a write fails, which closes the
// connection.
func (m *member) write(ctx context.Context) {
	for {
		select {
		case msg := <-m.waiting:
			if m.writeOne(ctx, msg) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (m *member) writeOne(ctx context.Context, msg message) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return m.conn.Write(ctx, msg.kind, msg.data)
}

// serve accepts a connection and stays with it.
func (r *room) serve(w http.ResponseWriter, req *http.Request) {
	conn, err := websocket.Accept(w, req, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(peer.MaxMessage)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := &member{conn, make(chan message, peer.Queue)}
	r.enter(m)
	defer r.leave(m)
	go m.write(ctx)
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		r.publish(message{kind, data})
	}
}

func main() {
	r := &room{members: make(map[*member]struct{})}
	peer.Serve(r.serve)
}
