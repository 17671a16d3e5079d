// Package bench measures WebSocket broadcasters end to end: real processes, real
// sockets. [Run] is crier's own suite, for go test -bench; [Command] compares any
// broadcasters. Linux only.
//
// A broadcaster sends each message of any client to all clients, the sender among
// them. Each round starts it as a fresh process on one core and loads it from this
// process on the other.
//
// The modes:
//
//   - idle: anonymous memory per idle connection, as the slope from a tenth of the
//     connections to all of them, and the number of threads.
//   - fanout: CPU per delivery, in closed loop: a message, wait until all have it, next.
//   - burst: the same with bursts of messages, each sender's in one write.
//   - handshake: CPU per connection accepted and greeted.
//   - stalled: growth of anonymous memory while a tenth of the receivers do not read.
//   - overload: latency in open loop, from the time each message was due.
//   - churn: the same while connections end and come again at a steady rate.
//
// CPU is what the server's process was charged, kernel included, by its CPU clock
// (clock_getcpuclockid(3)): nanoseconds, of all threads, those that ended included.
// Child processes of the server are not seen, so the command must not fork. A wrapper
// like strace(1) or perf(1) is ended with what it runs, but the figures are its own.
//
// Connections are those of package swarm: each checks that it gets every message of every
// sender whole, once and in order, and a run in which one does not has failed (stalled
// and overload allow a server to leave messages out and to cut receivers off, and count
// it). A failed run gives no figures.
//
// Besides, [MillionCommand] holds as many connections on one crier as the host allows.
//
// In the order in which a run passes them:
//
//	suite_linux.go    go test -bench: crier alone, sub-benchmarks for each case
//	command.go        the command measure: flags, rounds, several servers
//	server_linux.go   the process measured: start, CPU, memory, end
//	window.go         CPU over a span of time
//	strace_linux.go   system calls that the server makes
//	idle.go ...       the modes, a file each: idle, handshake, fanout, stalled, overload
//	report.go         medians, ratios, table and JSON
//	million.go        a million connections
//	limits_linux.go   what of the host bounds that
package bench
