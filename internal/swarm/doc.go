// Package swarm is the clients' side of a WebSocket broadcaster, to load it and to check
// what it delivers: tens of thousands of connections on a few threads. Linux only.
//
// A [Swarm] is made of loops, each one thread with one epoll. With one loop everything
// runs on the caller's thread, which is what a measurement on one core wants; with more
// there is one thread each, and once the file descriptors of this process are used up
// there are child processes, which are this program again: its main must call [Child]
// first.
//
// Connections are numbered from 0, and dealt out to the loops in turn. The first ones
// are the senders. Messages are numbered too, in the order in which they are due: number
// n is sent by sender n mod senders, as its n/senders-th. Each payload carries sender and
// sequence number and fills up with bytes that follow from them, so that every delivery
// can be checked alone: that it is intact, that it comes once, and that those of each
// sender come in order. No clock stands in a message. When it was due follows from its
// number, and latency counts from then: a swarm or a server that is behind cannot hide
// it.
//
// In the order in which a run passes them:
//
//	config.go         what to load, and with what
//	swarm_linux.go    what a caller can do: Grow, Send, Settle ...
//	order.go          the same as orders to loops, and their replies
//	process_linux.go  a swarm in a child process
//	loop_linux.go     connections on one epoll, by one thread
//	connect_linux.go  making, losing and renewing connections
//	socket_linux.go   sockets without the net package
//	upgrade.go        request, 101, greeting
//	schedule.go       when which message is due, and sending it then
//	frame.go          the frames of a server, out of bytes as they come
//	check.go          deliveries against what is due: lost, duplicated, reordered
//	payload.go        messages that carry their own check
//	stats.go          counts and latencies
package swarm
