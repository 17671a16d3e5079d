// Command melody is a broadcaster on github.com/olahol/melody, which wraps gorilla's
// library.
//
// It follows the library's chat example: Broadcast in the handler of messages, and the
// defaults, except for the size of messages, which is 512 bytes by default.
//
// Slow receivers, as documented: a message is dropped for a session that has 256
// waiting, and the session stays; one whose socket takes nothing for 10 s is closed.
//
// The library announces a session after it was added, so while clients connect, one
// may get another's message before its greeting.
package main

import (
	"net/http"

	"github.com/crier-ws/crier/bench/peers/internal/peer"
	"github.com/olahol/melody"
)

func main() {
	m := melody.New()
	m.Config.MaxMessageSize = peer.MaxMessage
	m.Config.MessageBufferSize = peer.Queue
	m.HandleConnect(func(s *melody.Session) { _ = s.Write([]byte(peer.Greeting)) })
	m.HandleMessage(func(_ *melody.Session, data []byte) { _ = m.Broadcast(data) })
	m.HandleMessageBinary(func(_ *melody.Session, data []byte) { _ = m.BroadcastBinary(data) })
	peer.Serve(func(w http.ResponseWriter, r *http.Request) {
		_ = m.HandleRequest(w, r) // which answers errors itself
	})
}
