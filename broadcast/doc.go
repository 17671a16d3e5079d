// Package broadcast is a WebSocket broadcast server: each message that a
// client sends goes to all of them. It holds very many connections, most of
// them idle, without a goroutine, a timer or a buffer for each.
//
//	srv, err := broadcast.New(broadcast.DefaultConfig())
//	if err != nil {
//		log.Fatal(err)
//	}
//	ln, err := broadcast.Listen(":18000")
//	if err != nil {
//		log.Fatal(err)
//	}
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//	defer stop()
//	if err := srv.Run(ctx, ln); err != nil { // Drains before it returns.
//		log.Fatal(err)
//	}
//
// If net/http already serves a site, put Handler into its mux instead of using a listener. Hooks in Config decide who
// may connect and what is published. Publish and PublishTo send to every connection of a channel, Conn.Send sends to
// one connection, and Conn.Close closes one.
//
// It knows WebSocket (RFC 6455) and sockets. It does not know flags, signals
// or what messages mean. It runs on Linux only.
//
// # The data path, in file order
//
//	listener.go   accept4 until there is nothing more; who is in a handshake
//	queue.go      turns on workers: a bounded ants pool
//	read.go       a turn: recv until the socket is empty
//	request.go    the HTTP request head, strictly
//	target.go     its path and query, and the channel that they name
//	handshake.go  101 and greeting
//	refuse.go     or an answer with an error; cors.go: for pages of other sites
//	page.go       or a document for browsers
//	grant.go      who may, and until when
//	position.go   where in a channel's history a connection begins
//	decode.go     frames, in place; what is unfinished is kept
//	deflate.go    compressed messages
//	violation.go  what breaks the protocol, and how that ends
//	utf8.go       text that comes in pieces
//	frame.go      headers, lengths, status codes
//	channel.go    who gets what is published where
//	replica.go    servers that replicate each other: what they deliver here, and what is forwarded to them
//	order.go      one order for the messages of all servers; ids.go: their IDs in a channel
//	follow.go     which channels are received from other servers; ahead.go: connections that wait for them
//	encoding.go   publish: into the logs, one for each form that is read
//	form.go       plain, with ids, compressed; events.go: server-sent events
//	hold.go       publishers wait while the server is behind
//	shard.go      what there is to do, and the end of connections
//	feed.go       the pass: everyone is brought to the log's head
//	slowpass.go   what a pass that takes long was doing
//	write.go      one send for each; what must wait stands aside
//	inbox.go      what others tell a shard
//	keepalive.go  pings, close timeouts, draining
//	clock.go      the one timer
//
// and across it: conn.go (a connection), turnstile.go (who owns its reading
// side), reason.go, stats.go and histogram.go (how it ends, and the totals), sys_linux.go (system calls),
// config.go, memory.go (what all of it may take up), extra.go (what only some connections have),
// direct.go (messages for one connection alone), handler.go, handover.go and pump.go (connections of net/http),
// run.go, publish.go, alive.go, counts.go, info.go and find.go with walk.go (for programs that embed it).
//
// # Who owns what
//
//	loop (netpoll)   nothing: it marks a connection and queues it
//	worker           the reading side of the connections whose turn it has
//	shard            the writing side and the end of its connections, from the
//	                 post of opened on; their lists, cursors and asides
//	Server.opening   connections before that, under its mutex
//	channel          its own mutex: its encodings, and which shards have feeds
//	feed             its shard, but for what its channel's mutex guards
//	log              its own mutex; sealed bytes are immutable
//	fd               the poller, from adopt on; given back by release, which
//	                 the last owner calls, see Conn.kill
//
// # Glossary
//
//   - channel: connections that get the same messages. Without Config.Channels
//     there is one.
//   - form: how messages go out. encoding: a channel's messages in one form.
//   - log: an encoding's messages as frames, one behind the other, see package framelog.
//   - cursor, head, tail, lapped: as in package framelog.
//   - shard: one goroutine that writes to a part of the connections.
//   - feed: the connections of one shard that read one encoding.
//   - pass: one walk of a shard over a feed's connections.
//   - turn: what a worker does for one connection before the next one's turn.
//   - aside: what a connection gets beside the log, kept only while it must wait.
//   - held: not read, because the server is behind.
package broadcast
