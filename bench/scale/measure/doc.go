// Package measure takes the constants of package model on the machine that it runs on: it starts servers of NATS and
// criers as processes, on loopback, and reads what they used.
//
// CPU is what the processes were charged, the kernel's part included (package procfs), so it holds on a busy machine
// where times do not. Bytes are counted at the sockets of the clients; those between servers of NATS are what they
// read beyond that (rchar, proc_pid_io(5)).
//
//   - measure.go: what is measured, and what is made of it
//   - nats.go: servers of NATS, and those who read a stream
//   - stream.go: what a message of a stream costs NATS
//   - crier.go: what it costs a crier; latency and messages a second of criers
//   - tls.go: what a handshake of TLS costs
package measure
