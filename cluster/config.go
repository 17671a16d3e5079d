package cluster

import (
	"log/slog"
	"time"

	"github.com/crier-ws/crier/cluster/presence"
)

// Config configures a Cluster or a Fast. Fields that only one of them uses say so; the other ignores them. Zero values
// stand for the defaults.
type Config struct {
	// Servers are the URLs of NATS servers, such as "nats://10.0.0.1:4222". The scheme tls:// demands TLS.
	Servers []string

	// Credentials is a file with the JWT and the seed of a NATS user, NKey a file with the seed of an NKey, and Cert
	// and Key are the files of a client certificate and its key, in PEM. CA is a file with the certificates, in PEM,
	// of the authorities that sign the certificates of NATS servers. An empty string means none.
	Credentials, NKey, Cert, Key, CA string

	// Stream is the name of the stream. Defaults to "CRIER". The subject of a channel is this name, a dot and a token.
	// A Fast has "fast" between them, so that its subjects are in no stream that a Cluster created.
	Stream string

	// Replicas is how many NATS servers store the stream, MaxBytes how many bytes it keeps, and MaxAge how long it
	// keeps a message. If the stream does not exist, 0 stands for the default of NATS: one replica, and no bounds. An
	// existing stream is compared with the fields that are not 0, and is never altered. Cluster only.
	Replicas int
	MaxBytes int64
	MaxAge   time.Duration

	// HistoryBytes is about how many bytes of messages are read from the stream as history: of all channels when the
	// server starts, or with Channels of a channel when its first connection opens. HistoryAge bounds the age of those
	// messages; 0 is no bound. Cluster only.
	HistoryBytes int64
	HistoryAge   time.Duration

	// Channels makes the server read only channels that have connections, or had some within Linger. Linger defaults
	// to a minute. A Cluster with more than 256 such channels reads all, until there are at most 128 again. A Fast
	// with more than 4096 reads all until it is closed.
	Channels bool
	Linger   time.Duration

	// Queue is how many messages may wait to be forwarded, and QueueBytes how many bytes they may take up, where each
	// message counts with its payload and 128 bytes. What exceeds them is dropped. Queue defaults to 65536, QueueBytes
	// to 16 MiB. Fast only.
	Queue      int
	QueueBytes int

	// InFlight is how many messages may be on their way into the stream, and InFlightBytes how many bytes their
	// payloads may have. Publishers over WebSocket are held while there are more. InFlight defaults to 1024,
	// InFlightBytes to 16 MiB. Cluster only.
	InFlight      int
	InFlightBytes int

	// PresenceBytes is the TableBytes of presence.Config, and has the same default.
	PresenceBytes int

	// Timeout is how long NATS may take to answer. Defaults to 5 s.
	Timeout time.Duration

	// Waiting, if set, is called while Open, OpenFast or Start waits for NATS, with the reason. It must not block.
	Waiting func(reason error)

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

const (
	defaultInFlightBytes = 16 << 20
	defaultQueueBytes    = 16 << 20
)

// MemoryBytes is the most memory that a Cluster takes up with the defaults of InFlightBytes and PresenceBytes, if no
// message is larger than 4 MiB.
const MemoryBytes = 2*defaultInFlightBytes + 2*(pullBytes+fillBytes) + presence.DefaultTableBytes + presence.MemoryBytes

// FastMemoryBytes is the most memory that a Fast takes up with the defaults of Queue, QueueBytes and PresenceBytes, if
// no message is larger than 4 MiB.
const FastMemoryBytes = defaultQueueBytes + inboundBytes + inboundMessages*inboundMessageBytes + 16<<20 +
	presence.DefaultTableBytes + presence.MemoryBytes

func (cfg Config) withDefaults() Config {
	if cfg.Stream == "" {
		cfg.Stream = "CRIER"
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = 1024
	}
	if cfg.InFlightBytes == 0 {
		cfg.InFlightBytes = defaultInFlightBytes
	}
	if cfg.Queue == 0 {
		cfg.Queue = 64 << 10
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = defaultQueueBytes
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Linger == 0 {
		cfg.Linger = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg
}
