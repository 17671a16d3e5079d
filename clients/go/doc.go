// Package crier is a client of a crier server: it follows a channel, and publishes to it over the same connection.
//
// A [Client] speaks the subprotocol crier.v1, in which each message has an ID. [Client.Follow] passes the messages of
// the channel to a function, and reconnects whenever the connection is lost. It guarantees:
//
//   - Messages arrive in the order of the channel, each once. A new connection begins after the newest ID.
//   - Messages that the server no longer retains are reported as a gap ([Event.IsGap]), and never left out silently.
//   - A dead connection is noticed: nothing has arrived on it for Config.Silence, not even a ping.
//   - Many clients that lose their connections together do not reconnect together: each wait has a random length, and
//     a server's Retry-After is respected.
//   - Follow gives up only if another try would fail in the same way. It then returns a [FatalError].
//
// A message sent with [Client.Send] may be lost without an error if the connection breaks right afterwards. Follow
// receives the client's own messages, too: a message that has come back has been published.
//
// The client does not know server-sent events, compression or the HTTP API for back ends; it neither stores the
// newest ID nor queues messages while there is no connection. docs/protocol.md specifies what goes over the wire.
//
// # Glossary
//
//   - channel: what clients follow and publish to; the path of the URL names it.
//   - ID: the place of a message in its channel, "EPOCH-NUMBER". Compare IDs for equality only.
//   - gap: messages between two IDs that the client does not get.
//   - direct message: a message from a program that embeds crier to this connection alone. It has no ID, is not
//     retained, and is missed if it was sent while there was no connection.
//
// # Files, in the order of the data
//
//   - config.go: Config, its defaults and bounds.
//   - client.go: New, Follow: the loop that connects, reads and waits.
//   - dial.go: one handshake, and what a refusal means.
//   - connection.go: reading frames, answering pings and close frames, leaving.
//   - event.go: the line before each message.
//   - send.go: Send and SendBinary.
//   - errors.go: all errors.
//
// # Ownership
//
// One goroutine, the one that called Follow, reads and owns the position in the channel. It starts one goroutine for
// each connection, which writes pongs, and waits for its end. Writes of frames are serialized by connection.turn.
package crier
