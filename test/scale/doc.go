// Package scale has the tests that need many connections and a server in a process of its own: ten thousand receivers,
// hundreds of stalled clients, storms of connects and resets, signals, a low limit of open files, slow handshakes. It
// exports nothing.
//
// The tests use the public API of package broadcast in a child process, or the program crier. Clients check what they
// receive with their own parser of RFC 6455.
//
// # In file order
//
//	main_test.go      runs the tests, or a server if the test binary is re-executed as one
//	child_test.go     that server: lines on stdin, JSON on stdout
//	process_test.go   the test's side of a server: start, ask, observe in /proc, end
//	limits_test.go    file descriptors that a test needs; patience
//	message_test.go   numbered messages with a checksum, and which of them a client has received
//	frame_test.go     parses a server's frames from a stream of bytes
//	tape_test.go      the stream of bytes that all receivers must receive
//	socket_test.go    raw client sockets
//	client_test.go    one client on an epoll instance
//	swarm_test.go     thousands of clients on one goroutine
//	storm_test.go     clients that connect and leave at once
//
// and the situations: fanout_test.go, stalled_test.go, churn_test.go, signal_test.go, fdlimit_test.go,
// trickle_test.go, resume_test.go, publish_test.go, memory_test.go. doctor_test.go compares the predictions of crier
// doctor with a run. Servers are built as the tests are: the race detector's shadow counts as memory.
//
// # How ten thousand streams are checked
//
// The first bytes that any receiver reads are recorded on a tape, parsed and checked: frames must be complete,
// checksums right, and the numbers of each sender without a gap. The bytes of every other receiver are compared with
// the tape. So all receivers are known to have the same intact messages in the same order, at the cost of a memcmp.
//
// # Glossary
//
//   - receiver: a client that reads as fast as it can and must receive every message.
//   - stalled: a client that does not read after the greeting.
//   - healthy: a receiver beside a storm.
//   - ledger: the check that messages are intact and in order.
//   - half-open: a connection whose handshake is not finished. Package broadcast calls it opening.
//   - gone: a client whose connection has ended.
package scale
