// Package cluster joins many crier servers into one: a message that is published at any of them reaches the
// connections of all of them, over NATS. There are two modes.
//
// In the ordered mode, a [Ordered], every message goes into a stream of NATS JetStream, and each server delivers what
// the stream holds, in the order of the stream. The sequence number of a message in the stream is the number in its
// ID, so IDs and resuming are the same on all servers.
//
// In the fast mode, a [Fast], each server delivers its own messages at once, with an order and IDs of its own, and
// forwards them to the other servers by core NATS, which may lose them.
//
// The package knows NATS and [broadcast.Replica], which delivers messages to the connections of one server. It does not
// know sockets, WebSocket frames, HTTP, flags or what messages mean.
//
// # The data path, in file order
//
//	config.go         what an Ordered and a Fast are configured with
//	connect.go        connecting to NATS, and the reports of its client
//	waiting.go        waiting for NATS at the start, and logging the reason
//	starting.go       running a step of the start: missing permissions end it
//	ordered.go        the ordered mode: OpenOrdered, Start, Ready, Close
//	stream.go         finding or creating the stream, and checking its settings
//	publish.go        the queue of messages that go into the stream
//	batch.go          which queued messages may be sent now: a batch, or one of each channel
//	send.go           sending them, one by one or in batches, and again after a failure
//	consume.go        the reader: from the stream into the logs of the server
//	marker.go         messages of crier in the stream, which show how far the reader is
//	channelset.go     the channels that a server wants and receives, in both modes
//	interest.go       which channels the reader reads, and how they change
//	history.go        what the stream held before the reader began
//	watch.go          whether the stream is the same, answers, and is being read
//	stats.go          figures of the ordered mode
//	fast.go           the fast mode: OpenFast, Start, Ready, Close
//	outbox.go         the queue of messages that go to other servers
//	subscriptions.go  which channels NATS is asked for
//	inbound.go        messages of other servers, into the logs of the server
//	subject.go        the NATS subject of a channel, and back
//	bell.go           waking a goroutine, and logging once a second
//
// Package presence, in a directory below, counts the connections of each channel at all servers, for both modes.
//
// # Who owns what
//
//	publisher.run      messages that were sent and not acknowledged, and when they are sent again
//	publisher.mu       the queue before it, and its size in bytes
//	Ordered.consume    the reader: the sequence number that was delivered last, and its consumer
//	interest.run       the group of channels whose history is being read
//	interest.mu        which channels are read, and the group that waits for the reader
//	Ordered.watch      what was last heard of the stream; it decides when the server must end
//	outbox.run         the numbers of forwarded messages
//	outbox.mu          the queue before it
//	inbound.collect    the channel that NATS delivers to
//	inbound.mu         the queue between collect and run
//	inbound.run        the newest number of each other server
//	subscriptions.mu   the subscriptions, which subscriptions.run makes and ends
//
// Start starts these goroutines. Close cancels their context and waits for them. Ordered.Close waits at most a second,
// because a goroutine may be waiting for an answer of NATS. NATS' client calls its handlers in a goroutine of its own.
// Handlers set atomics and ring bells, and do not block, except the reconnect handler of a Fast, which waits for a
// flush.
//
// # Glossary
//
//   - stream: the JetStream stream of the cluster. Sequence number: the place that it gives a message.
//   - dedup window: how long the stream recognizes a message that is sent again, by its message ID.
//   - batch: messages that the stream accepts together or not at all.
//   - group: channels whose history is read together.
//   - reader: the goroutine that reads the stream from one sequence number to the next. Delivered: the last one that
//     it has passed to the server.
//   - marker: a message of crier itself in the stream, on a subject that no channel has.
//   - history: the messages that the stream held before this server read the channel.
//   - lapped: the stream has dropped the message that the reader needs next, as it does with a slow consumer.
//   - rolled back: the stream has lost its newest messages and gives their sequence numbers to others.
//   - linger: how long a channel is still read after its last connection has ended.
//   - held: publishers over WebSocket are not read, because NATS is unavailable or too many messages are on their way.
//   - origin: the server process that forwarded a message in the fast mode.
package cluster
