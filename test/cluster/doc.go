// Package cluster tests crier nodes on NATS JetStream with the real thing: NATS' own servers and crier's as
// processes, and clients of each. It is a module of its own, so that the server of NATS is in none but this.
package cluster
