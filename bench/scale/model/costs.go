package model

import (
	_ "embed"
	"encoding/json"
)

// Linear is what depends on a message's size.
type Linear struct {
	Base   float64 `json:"base"`
	PerKiB float64 `json:"per_kib"`
}

// At is what it is for messages of a size in bytes.
func (l Linear) At(size float64) float64 { return l.Base + l.PerKiB*size/1024 }

// Stream is what a stream costs NATS with a number of replicas, on as many servers. CPU is µs for a message, of all
// servers together: under light load, when there are pauses between messages and each wakes all that it passes, and
// busy, when there are always more and those that came together leave together.
type Stream struct {
	Store       Linear  `json:"store_cpu"`        // At ease: to store it and to answer.
	Deliver     Linear  `json:"deliver_cpu"`      // At ease: for each node that gets it.
	BusyStore   Linear  `json:"busy_store_cpu"`   // Busy.
	BusyDeliver Linear  `json:"busy_deliver_cpu"` // Busy.
	Leader      float64 `json:"leader"`           // The share of busy storing that one server has.
	Replicate   Linear  `json:"replicate_bytes"`  // Between servers, to store what was published at the leader.
	Cross       Linear  `json:"cross_bytes"`      // Between servers, for each node that gets it.
	Skip        float64 `json:"skip_cpu"`         // Busy: for each node that does not listen to its channel.
	Join        float64 `json:"join_cpu"`         // For a consumer of 2 channels that is made and removed.
	JoinMost    float64 `json:"join_most_cpu"`    // For one of Follows channels.
	BusyTime    Linear  `json:"busy_time"`        // Busy: µs from one message to the next, everything on that machine.
}

// Costs are what was measured: the model's constants. CPU is in µs, sizes are in bytes.
type Costs struct {
	Machine string `json:"machine"` // What they stand for.

	R1 Stream `json:"r1"`
	R3 Stream `json:"r3"`

	Core         Linear  `json:"core_cpu"`          // CPU of NATS for a message and receiver without a stream, under light load.
	PublishBytes float64 `json:"publish_bytes"`     // To NATS for a message, besides its payload.
	AckBytes     float64 `json:"ack_bytes"`         // From NATS to who published it.
	DeliverBytes float64 `json:"deliver_bytes"`     // To a node for a message, besides its payload.
	ReturnBytes  float64 `json:"return_bytes"`      // From a node for a message.
	CoreBytes    float64 `json:"core_bytes"`        // To a receiver for a message without a stream, besides its payload.
	NATSMemory   float64 `json:"nats_node_memory"`  // Of NATS for a node.
	Message      Linear  `json:"crier_message_cpu"` // CPU of a crier for a message out of the stream, under light load, without its deliveries.
	BusyMessage  Linear  `json:"crier_busy_cpu"`    // The same, busy.
	Publish      float64 `json:"crier_publish_cpu"` // CPU of a crier for a message into the stream, under light load.
	CrierMemory  float64 `json:"crier_memory"`      // Of a crier more than one that is alone.
	Accept       float64 `json:"accept_cpu"`        // CPU of a crier for a connection before its request comes.
	TLS          float64 `json:"tls_cpu"`           // CPU of a server's side of a handshake of TLS.
	TLSResumed   float64 `json:"tls_resumed_cpu"`   // With a ticket.

	// Of docs/performance.md.
	Send         Linear  `json:"send_cpu"`      // CPU of a crier to write to a connection.
	Handshake    float64 `json:"handshake_cpu"` // CPU of a crier for a connection.
	ConnMemory   float64 `json:"conn_memory"`   // Of a crier for a connection.
	KernelMemory float64 `json:"kernel_memory"` // Of the kernel for its socket.

	Nodes []Nodes `json:"nodes"`
}

// Nodes is what a few criers were measured with, a client at each: not a constant, but what part of the costs is beside
// those of one that is alone.
type Nodes struct {
	Name     string  `json:"name"`
	P50, P99 float64 // ms from publishing at one node until the clients of all have it, 100 messages a second.
	CPU      float64 // µs of all criers for a message, at that rate.
	Rate     float64 // Messages of 100 B a second, as fast as one client publishes.
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
