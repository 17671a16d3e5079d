package broadcast

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/gobwas/ws"
)

// Kind is the kind of a message.
type Kind uint8

// The kinds of messages, RFC 6455, section 5.6.
const (
	// Text is a message of valid UTF-8.
	Text = Kind(ws.OpText)
	// Binary is a message of any bytes.
	Binary = Kind(ws.OpBinary)
)

// Message is one whole WebSocket message, without framing.
type Message struct {
	Kind    Kind
	Payload []byte
}

// Refusal is an error with which Authorize or OnConnect refuses a connection.
type Refusal struct {
	// Status is the HTTP status of the answer, 400 to 599. If the status may pass (408, 425, 429, 431, and from 500
	// on all but 501 and 505), a request for server-sent events is answered with an event stream that ends at once,
	// since an EventSource never reconnects after any status but 200.
	Status int
	// Reason is the body of the answer: a line of text for the client.
	Reason string
}

// Error returns status and reason.
func (r *Refusal) Error() string { return fmt.Sprintf("%d %s", r.Status, r.Reason) }

// Config configures a Server. DefaultConfig returns the configuration that replaces a Node broadcaster. The zero
// value is valid too, and has neither a greeting nor keep-alive.
type Config struct {
	// Path is the only request path that is served; with Channels, paths below it are served, too. Other paths are
	// answered 404. It starts with a slash, and has no segments "." and "..", which clients resolve. Percent-encoding
	// makes no difference: "/café" is "/caf%C3%A9". At most 2 KiB. Empty serves any path.
	Path string

	// Channels makes the request path name the channel of a connection: the connection gets what is published to that
	// channel, and publishes to it. The name is the part of the path after Path and a slash, with percent-encoding
	// resolved: UTF-8 without control characters, at most 255 bytes. Other names are answered 400. Without Channels
	// there is one channel, whose name is empty.
	Channels bool

	// Greeting is a text message that each connection gets before any other. UTF-8, at most 64 KiB. Empty sends none.
	Greeting string

	// MaxMessageBytes is the largest payload of a message that is accepted. A larger one closes its sender's
	// connection with 1009. Defaults to 1 MiB; at most 1 GiB.
	MaxMessageBytes int

	// Compress makes the server accept offers of permessage-deflate (RFC 7692): text and binary messages go out
	// compressed to connections that ask for it, and may arrive compressed from them. Each message is compressed once
	// for each window size in use, without context takeover.
	Compress bool

	// CompressMinBytes is the size of the smallest payload that is compressed.
	// Defaults to 512.
	CompressMinBytes int

	// RetainBytes is how far a connection may fall behind before it is lapped, and how much memory a full log takes
	// up. A channel has a log of plain frames and one for each other form in use: frames with IDs, server-sent events
	// and, with Compress, compressed frames for each window size.
	// Defaults to 8 MiB, or to twice MaxMessageBytes if that is more; less than twice MaxMessageBytes is not
	// advisable. At least 64 KiB.
	RetainBytes int

	// RetainTotalBytes is how much memory the logs of all channels take up together. Beyond it the oldest messages
	// are dropped, whichever channels they belong to. With Channels it defaults to 8 times RetainBytes and is at
	// least RetainBytes; without Channels it is not used.
	RetainTotalBytes int

	// RetainAge is how long messages are kept. A message is dropped when it is older, at most an eighth of RetainAge
	// later. From 1 s to 14 days; 0 keeps messages whatever their age.
	RetainAge time.Duration

	// Slow is what happens to lapped connections. Defaults to SlowClose.
	Slow SlowPolicy

	// PingInterval is how often each connection is sent a ping. The pings of
	// all connections are spread evenly over the interval. 0 sends none.
	PingInterval time.Duration

	// PingTimeout is how long a connection may give no sign of life (any frame counts) after a ping before it is
	// dropped. This is checked when the next ping is due. Defaults to twice PingInterval; negative never drops a
	// connection.
	PingTimeout time.Duration

	// HandshakeTimeout is how long a handshake may take, from accept to the last byte of the request. Defaults to 10
	// s.
	HandshakeTimeout time.Duration

	// CloseTimeout is how long the server waits for the peer after it has sent a close frame, or could not send it
	// because the socket was full. Defaults to 5 s.
	CloseTimeout time.Duration

	// DrainTime is how long Shutdown takes to close all connections, one after the other, so that their clients do
	// not all reconnect elsewhere at the same moment. At least a thousand connections a second are closed. 0 closes
	// all at once.
	DrainTime time.Duration

	// MaxConns bounds the open connections. Further handshakes are answered 503 with Retry-After. 0 means no bound
	// except the kernel's.
	MaxConns int

	// MaxConnsPerIP bounds the connections, those in the handshake included, from one IPv4 address or one IPv6 /64
	// network. Excess connections are answered 429. Up to MaxConnsPerIP of them (at least 16) may stay until their
	// request has arrived, so that the answer suits the client; the others are answered at once. 0 means no bound.
	// Counting takes about 100 bytes for each connection.
	MaxConnsPerIP int

	// TrustedProxies are the networks of proxies that are trusted to report a client's address: in X-Forwarded-For,
	// where the last address outside these networks is the client's, or in the header of ProxyProtocol. A client
	// whose address they do not report counts as connected from the last known proxy, and MaxConnsPerIP does not
	// limit such clients. IPv4-mapped networks are the IPv4 networks that they stand for. A peer on a Unix socket is
	// trusted if TrustedProxies is not empty.
	TrustedProxies []netip.Prefix

	// ProxyProtocol makes connections of TrustedProxies start with a header of the PROXY protocol, version 1 or 2,
	// and refuses those that do not.
	ProxyProtocol bool

	// Origins lists the web sites whose pages may connect, as browsers send them in the header Origin:
	// "https://example.com", "https://example.com:8443", "https://*.example.com" for all hosts below that, "file://"
	// or "capacitor://localhost" for applications in web views, "null" for files and sandboxes. International names
	// may be in Unicode or in Punycode. Entries that no browser sends are an error. Other origins are answered 403.
	// Requests without the header, which do not come from a browser's page, are not affected. Empty allows all
	// origins.
	Origins []string

	// ReceiveOnly makes the server refuse messages from connections: one that sends a message is closed with 1008.
	// Publish is not affected.
	ReceiveOnly bool

	// Rate is how many messages a second, and RateBytes how many bytes of payload a second, each connection may publish
	// in the long run; 0 means no bound. Burst is how many messages, and BurstBytes how many bytes, a connection may
	// publish at once after a rest. Burst defaults to one second of Rate, and is at least 1. BurstBytes defaults to one
	// second of RateBytes, and is at least MaxMessageBytes.
	Rate       float64
	Burst      int
	RateBytes  float64
	BurstBytes int

	// OverRate is what happens to a connection that exceeds its rate. Defaults to RateHold.
	OverRate RatePolicy

	// Replication makes the server one of several that have the same channels. The zero value is a server that is
	// alone. Package cluster has two implementations, which use Server.Replica.
	Replication Replication

	// MemoryBytes, if set, bounds the server's own memory, whatever its peers do. MaxConns is lowered to what fits, the
	// retention is lowered if it was not given, and unfinished messages, direct messages and handshakes have bounds for
	// all connections together. What does not fit is answered 503 or closed with 1013; Conn.Send returns ErrBusy.
	// Server.Memory returns how MemoryBytes is divided up. The embedding program should set Go's memory limit
	// accordingly (debug.SetMemoryLimit). 0 means no bound beyond that of each connection.
	//
	// MemoryBytes does not count the values of Grant.Value and Conn.SetValue (about 150 bytes for each connection that
	// has one, plus the value), what hooks allocate, and what Server.Handler needs beside a connection of the server:
	// nothing for a plain TCP or Unix socket; about 12 KiB, plus the memory of crypto/tls, for a connection that
	// net/http encrypts; the goroutine and the buffers of net/http for events over HTTP/2. Nor does it count kernel
	// memory. A program that uses these must leave room for them, as MaxConns times their size.
	MemoryBytes int64

	// UnsentBytes bounds how much of each connection's output the kernel holds before it is sent (TCP_NOTSENT_LOWAT,
	// tcp(7)), so that peers that do not read do not fill kernel memory. Defaults to 128 KiB; at least 4096.
	UnsentBytes int

	// Shards is the number of goroutines that write to connections. Defaults
	// to the number of processors.
	Shards int

	// Workers bounds the goroutines that read and decode. Defaults to twice
	// the number of processors.
	Workers int

	// SlowPass is how long a pass may take. A pass writes the new messages of a channel to the connections of one
	// shard. Slower passes are logged with details, at level Warn and at most one a second. 0 logs none.
	SlowPass time.Duration

	// Logger gets the server's log. Defaults to slog.Default().
	Logger *slog.Logger

	// Page, if set, answers browsers that open the server's address. See Page.
	Page *Page

	// Authorize, if set, decides whether a request may open a connection of a channel, and what that connection may
	// do. r is the request; its body is empty. An error refuses the request: a *Refusal, or an error that wraps one,
	// with its status and reason, any other error with 403 and its text. The whole text of the error is logged, so it
	// must not contain secrets that the peer has sent. If Authorize is nil, every connection has Grant{Publish:
	// true}.
	//
	// With Authorize, subprotocols that begin with "bearer." are taken for tokens and never selected. Each open
	// connection whose grant ends takes about 50 bytes more. Authorize runs on a worker, for several connections
	// concurrently, and before OnConnect.
	Authorize func(r *http.Request, channel string) (Grant, error)

	// OnConnect, if set, is called before a handshake is answered with 101. r is the request; its body is empty. An
	// error refuses the connection: a *Refusal with its status, any other error with 403. c is the same in all hooks.
	// If OnConnect returns nil after HandshakeTimeout, or after the server has ended, the connection is not opened, and
	// OnDisconnect is not called for it.
	//
	// Hooks run on a worker. A hook that blocks takes that worker from all other connections; a hook that panics closes
	// its connection. Hooks of one connection run one after the other, those of several connections concurrently. A
	// hook may call Send, Close and Publish, which may block. It must not call Server.Shutdown or Run.
	OnConnect func(c *Conn, r *http.Request) error

	// OnMessage, if set, is called with each message that a connection sends. It returns the message to publish and
	// true, or false to publish nothing. The payload of m is borrowed until OnMessage returns. The payload of the
	// returned message is copied.
	OnMessage func(c *Conn, m Message) (Message, bool)

	// OnDisconnect, if set, is called once for every connection that was open, when the connection has ended.
	OnDisconnect func(c *Conn, why Reason)

	memory  MemoryPlan
	sockets sockets // The kernel, unless a test replaces it.
}

// DefaultGreeting is the greeting of the Node broadcaster.
const DefaultGreeting = "connection established"

// DefaultConfig returns the configuration that makes a server the drop-in replacement of a Node broadcaster.
func DefaultConfig() Config {
	return Config{
		Greeting:     DefaultGreeting,
		PingInterval: 30 * time.Second,
		DrainTime:    5 * time.Second,
	}
}

const (
	defaultRetain = 8 << 20
	minRetain     = 64 << 10
	maxGreeting   = 64 << 10
	maxMaxMessage = 1 << 30
	maxBurst      = 1 << 30
	maxDuration   = 14 * 24 * time.Hour // The clock is 32 bits of milliseconds.
)

// WithDefaults returns cfg as New uses it: zero fields have their defaults, and with MemoryBytes, fields whose values
// do not fit are lowered. The error joins all faults.
func (cfg Config) WithDefaults() (Config, error) {
	setDefault(&cfg.MaxMessageBytes, 1<<20)
	setDefault(&cfg.CompressMinBytes, 512)
	given := cfg
	setDefault(&cfg.RetainBytes, max(defaultRetain, 2*cfg.MaxMessageBytes))
	if cfg.Channels {
		setDefault(&cfg.RetainTotalBytes, 8*cfg.RetainBytes)
	}
	setDefault(&cfg.Burst, max(1, int(min(cfg.Rate, maxBurst))))
	setDefault(&cfg.BurstBytes, max(cfg.MaxMessageBytes, int(min(cfg.RateBytes, maxBurst))))
	setDefault(&cfg.PingTimeout, min(2*cfg.PingInterval, maxDuration))
	setDefault(&cfg.HandshakeTimeout, 10*time.Second)
	setDefault(&cfg.CloseTimeout, 5*time.Second)
	setDefault(&cfg.Replication.HoldTime, 30*time.Second)
	setDefault(&cfg.UnsentBytes, 128<<10)
	setDefault(&cfg.Shards, runtime.GOMAXPROCS(0))
	setDefault(&cfg.Workers, 2*runtime.GOMAXPROCS(0))
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.sockets == nil {
		cfg.sockets = &kernel{}
	}
	if err := cfg.validate(); err != nil || cfg.MemoryBytes == 0 {
		return cfg, err
	}
	var err error
	if cfg.memory, err = cfg.plan(given.RetainBytes == 0, given.RetainTotalBytes == 0); err == nil {
		cfg.MaxConns = cfg.memory.MaxConns
	}
	return cfg, err
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (cfg *Config) validate() error {
	var errs []error
	check := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("broadcast: Config.%s is %v, want %s", field, value, want))
		}
	}
	if err := checkPath(cfg.Path); err != nil {
		check(false, "Path", fmt.Sprintf("%q", cfg.Path), err.Error())
	}
	check(!slices.ContainsFunc(cfg.TrustedProxies, isUnmatchable), "TrustedProxies", cfg.TrustedProxies,
		"valid networks, IPv4-mapped ones with at least /96")
	check(len(cfg.Greeting) <= maxGreeting, "Greeting", fmt.Sprintf("%d bytes long", len(cfg.Greeting)),
		"at most 64 KiB")
	check(validText([]byte(cfg.Greeting)), "Greeting", fmt.Sprintf("%q", cfg.Greeting), "valid UTF-8")
	check(cfg.MaxMessageBytes >= 1 && cfg.MaxMessageBytes <= maxMaxMessage, "MaxMessageBytes",
		cfg.MaxMessageBytes, "1 to 1 GiB")
	check(cfg.CompressMinBytes >= 0, "CompressMinBytes", cfg.CompressMinBytes, "0 or more")
	check(cfg.RetainBytes >= minRetain, "RetainBytes", cfg.RetainBytes, "at least 64 KiB")
	check(!cfg.Channels || cfg.RetainTotalBytes >= cfg.RetainBytes, "RetainTotalBytes",
		cfg.RetainTotalBytes, fmt.Sprintf("at least RetainBytes, which is %d", cfg.RetainBytes))
	check(cfg.Slow <= SlowSkip, "Slow", cfg.Slow, "SlowClose or SlowSkip")
	span := func(d, least time.Duration, field string) {
		check(d >= least && d <= maxDuration, field, d, fmt.Sprintf("%v to %v", least, maxDuration))
	}
	span(cfg.PingInterval, 0, "PingInterval")
	span(max(0, cfg.PingTimeout), 0, "PingTimeout")
	span(cfg.HandshakeTimeout, time.Millisecond, "HandshakeTimeout")
	span(cfg.CloseTimeout, time.Millisecond, "CloseTimeout")
	span(cfg.DrainTime, 0, "DrainTime")
	span(cfg.SlowPass, 0, "SlowPass")
	span(cfg.Replication.HoldTime, time.Millisecond, "Replication.HoldTime")
	check(cfg.RetainAge == 0 || cfg.RetainAge >= time.Second && cfg.RetainAge <= maxDuration, "RetainAge",
		cfg.RetainAge, fmt.Sprintf("0, or 1s to %v", maxDuration))
	check(cfg.MemoryBytes >= 0 && cfg.MemoryBytes <= 1<<50, "MemoryBytes", cfg.MemoryBytes, "0 to 2^50")
	check(cfg.MaxConns >= 0, "MaxConns", cfg.MaxConns, "0 or more")
	check(cfg.MaxConnsPerIP >= 0, "MaxConnsPerIP", cfg.MaxConnsPerIP, "0 or more")
	check(!cfg.ProxyProtocol || len(cfg.TrustedProxies) > 0, "ProxyProtocol", cfg.ProxyProtocol,
		"TrustedProxies as well")
	_, err := parseOrigins(cfg.Origins)
	errs = append(errs, err)
	check(cfg.Rate >= 0 && cfg.Rate <= maxBurst, "Rate", cfg.Rate, "0 to 2^30")
	check(cfg.RateBytes >= 0 && cfg.RateBytes <= 1<<40, "RateBytes", cfg.RateBytes, "0 to 2^40")
	check(cfg.Burst >= 1 && cfg.Burst <= maxBurst, "Burst", cfg.Burst, "1 to 2^30")
	check(cfg.BurstBytes >= cfg.MaxMessageBytes, "BurstBytes", cfg.BurstBytes, "at least MaxMessageBytes")
	cfg.Replication.validate(check)
	check(cfg.OverRate <= RateClose, "OverRate", cfg.OverRate, "RateHold or RateClose")
	check(cfg.UnsentBytes >= 4096, "UnsentBytes", cfg.UnsentBytes, "at least 4096")
	if cfg.Page != nil {
		errs = append(errs, cfg.Page.validate())
	}
	check(cfg.Shards > 0, "Shards", cfg.Shards, "more than 0")
	check(cfg.Workers > 0, "Workers", cfg.Workers, "more than 0")
	return errors.Join(errs...)
}
