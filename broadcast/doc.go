// Package broadcast is a WebSocket broadcast server: it sends each message of a client to all clients. It holds very
// many connections, most of them idle, without a goroutine, a timer or a buffer for each.
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
// The package knows WebSocket (RFC 6455), server-sent events and sockets. It does not know flags, signals, other
// servers, or what messages mean: programs such as package cluster connect several servers through Server.Replica. It
// runs on Linux only.
//
// # The data path, in file order
//
// A connection is accepted, and its handshake is read and answered:
//
//	listener.go      accept4 until no connection waits; the list of opening connections
//	address.go       limits per address, and addresses that proxies report
//	queue.go         turns of connections and listeners on workers: a bounded ants pool
//	read.go          a turn: recv until the socket is empty
//	handshake.go     a request head, answered with 101 and the greeting
//	request.go       parsing the head, strictly
//	target.go        its path and query, and the channel that they name
//	extension.go     negotiating permessage-deflate
//	position.go      where in a channel's history a connection begins
//	origin.go        which pages may connect
//	grant.go         who may connect, and until when
//	refuse.go        or an answer with an error; cors.go: for pages of other sites
//	page.go          or a document for browsers
//
// What an open connection sends is decoded:
//
//	decode.go        frames, in place; unfinished bytes are kept
//	violation.go     violations of the protocol, and how they end a connection
//	deflate.go       compressed messages
//	utf8.go          text that arrives in pieces
//	frame.go         frame headers, lengths and status codes
//	pongs.go         answers to pings
//	rate.go          limits of what a connection publishes
//	hold.go          publishers wait while the server is behind
//
// and published:
//
//	publish.go       Publish, and the publish step: a message into the logs of its channel
//	channel.go       which connections and messages belong to a channel
//	encoding.go      a channel's messages in one form
//	form.go          plain, with IDs, or compressed; events.go: server-sent events
//
// or, on one server of several, ordered or forwarded first:
//
//	replica.go       what other servers deliver here, and what is forwarded to them
//	order.go         one order for the messages of all servers; ids.go: their IDs in a channel
//	follow.go        which channels are received from other servers
//	ahead.go         connections that wait for messages of other servers
//	counts.go        the numbers of connections, for other servers
//
// The shards write it to the connections:
//
//	inbox.go         what other goroutines report to a shard
//	shard.go         a round of a shard, and the end of connections
//	feed.go          the pass: brings every connection to the log's head
//	slowconsumer.go  what happens to a connection that is lapped
//	write.go         one send for each connection, and the bytes that are not from the log
//	direct.go        messages for one connection alone
//	slowpass.go      what a pass that takes long was doing
//	keepalive.go     pings, close timeouts, and the drain
//	clock.go         the server's only timers
//
// These files belong to no single step:
//
//	server.go        New, Serve and Shutdown; run.go: Run
//	config.go        settings; memory.go: how they divide up the memory
//	conn.go          a connection
//	turnstile.go     who owns the reading side of a connection
//	extra.go         what only some connections have
//	handler.go       connections of net/http; handover.go: taking them over; pump.go: those that epoll cannot watch
//	info.go          channels and connections for admins; find.go and walk.go: searching a million of them
//	alive.go         whether the server makes progress
//	reason.go        why connections end; stats.go and histogram.go: totals
//	sys_linux.go     system calls
//
// # Who owns what
//
//	loop (netpoll)   nothing: it sets flags of a connection and queues its turn
//	worker           the reading side of the connection or listener whose turn it runs
//	shard            the writing side and the end of its connections, from the post of opened on;
//	                 its feeds, their lists, cursors, views and out-of-band bytes
//	clock            what only the clock's goroutine writes: see runClock
//	Server.opening   connections whose opened was not posted yet, under its mutex
//	channel          its encodings, and which shards have feeds, under its mutex
//	log              its bytes, under its mutex; sealed bytes are immutable
//	fd               the poller, from adopt on; the last owner closes it with release: see Conn.kill
//
// # Glossary
//
//   - channel: connections that get the same messages. Without Config.Channels there is one.
//   - form: how messages go out. encoding: a channel's messages in one form.
//   - log: the messages of an encoding as frames, one after the other: see package framelog.
//   - cursor, head, tail, lag, lapped: as in package framelog.
//   - shard: a goroutine that writes to a part of the connections.
//   - feed: the connections of one shard that read one encoding.
//   - pass: one walk of a shard over the connections of a feed. round: everything that a shard does between two waits.
//   - turn: what a worker does for one connection before the next one's turn.
//   - out of band: bytes that a connection gets beside the log, such as pongs, close frames and direct messages. They
//     are kept only while the connection cannot take them.
//   - slow consumer: a connection that is lapped because its peer does not read.
//
// States of waiting:
//
//   - opening: accepted, and the handshake is not finished.
//   - queued: waiting for a worker.
//   - held: not read, because the connection must not publish now: the server is behind, the cluster is unavailable, or
//     the connection is over its rate.
//   - gated: publishers of a channel, or all of them, wait because the slowest shard is behind or the cluster is
//     unavailable. Their connections are held.
//   - ahead: a resuming client has messages that this server does not have yet.
//   - blocked: the socket's send buffer is full; an event reports when it is writable.
//   - starved: a send has failed for lack of kernel memory; no event will come, so the clock retries.
//   - accept stalled: a listener cannot accept for lack of fds or memory; the clock retries.
package broadcast
