package model

import (
	_ "embed"
	"encoding/json"
)

// Linear is a cost that depends on a message's size.
type Linear struct {
	Base   float64 `json:"base"`
	PerKiB float64 `json:"per_kib"`
}

// At returns the cost for a message of so many bytes.
func (l Linear) At(size float64) float64 { return l.Base + l.PerKiB*size/1024 }

// Stream is the cost of a stream for NATS, with as many servers as replicas. CPU is in µs for a message, on all servers
// together. Under light load there are pauses between messages, and each message wakes every goroutine that it passes.
// Under full load messages queue and are processed in batches.
type Stream struct {
	Store       Linear  `json:"store_cpu"`        // Light load: to store a message and acknowledge it.
	Deliver     Linear  `json:"deliver_cpu"`      // Light load: for each node that receives it.
	BusyStore   Linear  `json:"busy_store_cpu"`   // Full load.
	BusyDeliver Linear  `json:"busy_deliver_cpu"` // Full load.
	Leader      float64 `json:"leader"`           // The share of storing that the leader does, under full load.
	Replicate   Linear  `json:"replicate_bytes"`  // Between servers, to store a message that was published at the leader.
	Cross       Linear  `json:"cross_bytes"`      // Between servers, for each node that receives it.
	Skip        float64 `json:"skip_cpu"`         // Full load: for each node that does not follow its channel.
	Join        float64 `json:"join_cpu"`         // To create and remove a consumer of 2 channels.
	JoinMost    float64 `json:"join_most_cpu"`    // To create and remove a consumer of Follows channels.
	BusyTime    Linear  `json:"busy_time"`        // Full load, all on one machine: µs from one message to the next.
}

// Costs are the measured constants of the model. CPU is in µs, sizes are in bytes.
type Costs struct {
	Machine string `json:"machine"` // The machine that they were measured on.

	R1 Stream `json:"r1"`
	R3 Stream `json:"r3"`

	// Core is the CPU of NATS for a message and receiver without a stream, under light load.
	Core         Linear  `json:"core_cpu"`
	PublishBytes float64 `json:"publish_bytes"`     // To NATS for a message, besides its payload.
	AckBytes     float64 `json:"ack_bytes"`         // From NATS to the publisher of a message.
	DeliverBytes float64 `json:"deliver_bytes"`     // To a node for a message, besides its payload.
	ReturnBytes  float64 `json:"return_bytes"`      // From a node for a message.
	CoreBytes    float64 `json:"core_bytes"`        // To a receiver for a message without a stream, besides its payload.
	NATSMemory   float64 `json:"nats_node_memory"`  // Of NATS for a node.
	Message      Linear  `json:"crier_message_cpu"` // CPU of a crier to receive a message, light load, without deliveries.
	BusyMessage  Linear  `json:"crier_busy_cpu"`    // The same under full load.
	Publish      float64 `json:"crier_publish_cpu"` // CPU of a crier to publish a message to the stream, light load.
	CrierMemory  float64 `json:"crier_memory"`      // Of a crier, beyond that of a single server.
	Accept       float64 `json:"accept_cpu"`        // CPU of a crier for a connection before its request arrives.
	TLS          float64 `json:"tls_cpu"`           // CPU of the server's side of a TLS handshake.
	TLSResumed   float64 `json:"tls_resumed_cpu"`   // The same for a resumed session.

	// From docs/performance.md.
	Send         Linear  `json:"send_cpu"`      // CPU of a crier to write to a connection.
	Handshake    float64 `json:"handshake_cpu"` // CPU of a crier for a connection.
	ConnMemory   float64 `json:"conn_memory"`   // Of a crier for a connection.
	KernelMemory float64 `json:"kernel_memory"` // Of the kernel for its socket.

	Nodes []Nodes `json:"nodes"`
}

// Nodes is a measurement of a few criers with a client each. It is no constant of the model: it shows how much of the
// cost a cluster adds to that of a single server.
type Nodes struct {
	Name     string  `json:"name"`
	P50, P99 float64 // ms from publishing at one node to delivery at all, with 100 messages per second.
	CPU      float64 // µs of all criers for a message, at that rate.
	Rate     float64 // Messages of 100 B per second, as fast as one client publishes.
}

//go:embed costs.json
var measured []byte

// Measured returns the constants of docs/scale.md, which were measured by `go run -C bench/scale . -measure`.
func Measured() Costs {
	var c Costs
	if err := json.Unmarshal(measured, &c); err != nil {
		panic("model: costs.json: " + err.Error()) // It is part of the program.
	}
	return c
}
