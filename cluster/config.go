package cluster

import (
	"log/slog"
	"time"

	"github.com/crier-ws/crier/cluster/presence"
)

// Config has the settings of both modes. Zero values stand for the defaults.
type Config struct {
	// Servers are the URLs of NATS servers, such as "nats://10.0.0.1:4222". The scheme tls:// demands TLS.
	Servers []string

	// Credentials is a file with the JWT and the seed of a NATS user, NKey a file with the seed of an NKey, and Cert
	// and Key are the files of a client certificate and its key, in PEM. CA is a file with the certificates, in PEM,
	// of the authorities that sign the certificates of NATS servers. An empty string means none.
	Credentials, NKey, Cert, Key, CA string

	// Stream is the name of the stream in the ordered mode. Defaults to "CRIER". The subject of a channel is this name,
	// a dot and a token. The fast mode puts "fast" between them, so that its subjects are in no stream that the ordered
	// mode created.
	Stream string

	// Channels makes the server receive only channels that have connections, or had some within Linger. Linger defaults
	// to a minute. The ordered mode receives all channels while there are more than 256 such channels, until there are
	// at most 128 again. The fast mode receives all, once there are more than 4096, until it is closed.
	Channels bool
	Linger   time.Duration

	// PresenceBytes is the TableBytes of presence.Config, and has the same default.
	PresenceBytes int

	// Timeout is how long NATS may take to answer. Defaults to 5 s.
	Timeout time.Duration

	// Waiting, if set, is called while OpenOrdered, OpenFast or Start waits for NATS, with the reason. It must not
	// block.
	Waiting func(reason error)

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// OrderedConfig configures an Ordered. Zero values stand for the defaults.
type OrderedConfig struct {
	Config

	// Replicas is how many NATS servers store the stream, MaxBytes how many bytes it keeps, and MaxAge how long it
	// keeps a message. If the stream does not exist, 0 stands for the default of NATS: one replica, and no bounds. An
	// existing stream is compared with the fields that are not 0, and is never altered.
	Replicas int
	MaxBytes int64
	MaxAge   time.Duration

	// HistoryBytes is about how many bytes of messages are read from the stream as history: of all channels when the
	// server starts, or with Channels of a channel when its first connection opens. HistoryAge bounds the age of those
	// messages; 0 is no bound.
	HistoryBytes int64
	HistoryAge   time.Duration

	// InFlight is how many messages may be on their way into the stream, and InFlightBytes how many bytes their
	// payloads may have. Publishers over WebSocket are held while there are more. InFlight defaults to 1024,
	// InFlightBytes to 16 MiB.
	InFlight      int
	InFlightBytes int
}

// FastConfig configures a Fast. Zero values stand for the defaults.
type FastConfig struct {
	Config

	// Queue is how many messages may wait to be forwarded, and QueueBytes how many bytes they may take up, where each
	// message counts with its payload and 128 bytes. What exceeds them is dropped. Queue defaults to 65536, QueueBytes
	// to 16 MiB.
	Queue      int
	QueueBytes int
}

const (
	defaultInFlightBytes = 16 << 20
	defaultQueueBytes    = 16 << 20
)

// OrderedMemoryBytes is the most memory that an Ordered takes up with the defaults of InFlightBytes and PresenceBytes,
// if no message is larger than 4 MiB.
const OrderedMemoryBytes = 2*defaultInFlightBytes + 2*(pullBytes+fillBytes) + presence.DefaultTableBytes +
	presence.MemoryBytes

// FastMemoryBytes is the most memory that a Fast takes up with the defaults of Queue, QueueBytes and PresenceBytes, if
// no message is larger than 4 MiB.
const FastMemoryBytes = defaultQueueBytes + inboundBytes + inboundMessages*inboundMessageBytes + 16<<20 +
	presence.DefaultTableBytes + presence.MemoryBytes

func (cfg *Config) setDefaults() {
	setDefault(&cfg.Stream, "CRIER")
	setDefault(&cfg.Timeout, 5*time.Second)
	setDefault(&cfg.Linger, time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
}

func (cfg OrderedConfig) withDefaults() OrderedConfig {
	cfg.setDefaults()
	setDefault(&cfg.InFlight, 1024)
	setDefault(&cfg.InFlightBytes, defaultInFlightBytes)
	return cfg
}

func (cfg FastConfig) withDefaults() FastConfig {
	cfg.setDefaults()
	setDefault(&cfg.Queue, 64<<10)
	setDefault(&cfg.QueueBytes, defaultQueueBytes)
	return cfg
}

// setDefault sets a field that is zero.
func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}
