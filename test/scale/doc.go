// Package scale has the tests that need many connections and a server in a
// process of its own: ten thousand receivers, hundreds of stalled ones, storms
// of connects and resets, signals, a low fd limit, handshakes that trickle.
// There is nothing to import.
//
// It knows the server from outside: broadcast.New, Serve, Stats and Shutdown in
// a child process, or the real crier command. What a client sees it takes from
// RFC 6455 and its own socket.
//
// # In file order
//
//	main_test.go      the test binary, or the server that it becomes when re-executed
//	child_test.go     that server: lines on stdin, JSON on stdout
//	process_test.go   its parent's side: start, ask, watch in /proc, end
//	limits_test.go    fds that a test needs; patience
//	message_test.go   numbered messages with a checksum, and who has got which
//	frame_test.go     a server's frames, as they come in pieces
//	tape_test.go      the one stream that all receivers must get, byte for byte
//	socket_test.go    raw client sockets
//	client_test.go    one client on an epoll instance
//	swarm_test.go     thousands of them, on one goroutine
//	storm_test.go     clients that connect and are gone
//
// and the situations: fanout_test.go, stalled_test.go, churn_test.go,
// signal_test.go, fdlimit_test.go, trickle_test.go; doctor_test.go holds what crier doctor
// predicts against a run. Servers are built as the tests are: the race detector's shadow counts as memory.
//
// # How ten thousand streams are checked
//
// The first bytes that any receiver gets are put on a tape, and are parsed and
// checked as they are: frames whole, checksums right, each sender's numbers
// without a gap. Every receiver's bytes are compared with the tape's. So all of
// them got the same messages in one order, and intact, at the cost of a memcmp.
//
// # Glossary
//
//   - receiver: a client that reads as fast as it can and must get everything.
//   - stalled: a client that was greeted and then stops reading.
//   - healthy: a receiver beside a storm.
//   - ledger: the check that messages are intact and in order.
//   - half-open: a connection whose handshake is not finished.
//   - gone: a client whose connection has ended.
package scale
