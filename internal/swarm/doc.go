// Package swarm has tens of thousands of WebSocket clients on a few threads. They load a broadcaster and check what it
// delivers. Linux only.
//
// A [Swarm] consists of loops. Each loop is a thread with an epoll instance. A swarm with one loop runs on the caller's
// thread, which suits a measurement on one core. With more loops, each has its own thread. When the file descriptors of
// this process are used up, further loops run in child processes, which execute this program again: its main function
// must call [Child] first.
//
// Connections are numbered from 0 and assigned to the loops in turn. The first connections are the senders. Messages
// are numbered too, in the order in which they are due: sender n mod senders sends message n, as its n/senders-th
// message. Each payload has its sender and sequence number, and is filled with bytes that follow from these. So each
// delivery can be checked by itself: it must be intact, arrive once, and be in order among those of its sender. A
// message has no timestamp: its number determines when it was due, and latency counts from then. So neither a swarm
// nor a server that lags can hide that.
//
// The files, in the order of a run:
//
//	config.go         configuration
//	swarm_linux.go    the API: Grow, Send, Settle ...
//	order.go          API calls as orders to loops, and their replies
//	process_linux.go  a swarm in a child process
//	loop_linux.go     connections on one epoll instance, on one thread
//	connect_linux.go  connecting, disconnecting and reconnecting
//	socket_linux.go   sockets without the net package
//	upgrade.go        request, 101, greeting
//	schedule.go       when each message is due, and sending it
//	frame.go          parses a server's frames from a stream of bytes
//	deflate.go        permessage-deflate
//	check.go          compares deliveries with what was sent: lost, duplicated, reordered
//	payload.go        messages that carry their own check
//	stats.go          counts and latencies
package swarm
