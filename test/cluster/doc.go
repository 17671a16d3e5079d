// Package cluster tests clusters of crier with real NATS servers: it starts them, crier nodes and clients of both.
// It is a module of its own, so that no other module depends on the NATS server.
package cluster
