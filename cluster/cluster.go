// Package cluster makes many crier servers one: what is published at any of them goes into a stream of NATS
// JetStream, and each delivers what is in the stream, in its order. A message's place in the stream is the number in
// its id, so ids and resuming are the same on all servers. This is a Cluster. In a Fast, each server delivers what is
// published there at once, in an order and with ids of its own, and the others get it by core NATS, or not.
//
// # Files
//
//   - connect.go, waiting.go: connecting, and waiting for NATS
//   - starting.go: what keeps a server from starting
//   - cluster.go, stream.go: the stream
//   - publish.go, send.go: into the stream
//   - consume.go: out of the stream
//   - watch.go: whether all is well with it
//   - interest.go: of which channels
//   - stats.go: how all that goes
//   - history.go: what they had before
//   - fast.go, outbox.go, inbound.go: without a stream
//   - subject.go: channels as subjects
//   - presence: a package of its own, how many connections channels have at all servers
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster/presence"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config is what a Cluster or a Fast is made with. Of a Fast are neither Replicas to HistoryBytes nor InFlight and its bytes, and
// only of a Fast are Queue and its bytes.
type Config struct {
	// Servers are the URLs of NATS servers, as "nats://10.0.0.1:4222"; tls:// demands TLS.
	Servers []string

	// What proves who crier is, each of them or empty: a file of credentials (user JWT and seed), a file of an NKey's
	// seed, a client certificate with its key. CA is a file of the certificates that servers are trusted by.
	Credentials, NKey, Cert, Key, CA string

	// Stream is the stream's name. Defaults to "CRIER". Its subjects are its name and a token for each channel. Those of
	// a Fast have "fast" between them, so that they are in no stream that a Cluster has made.
	Stream string

	// Replicas is how many servers have the stream, and MaxBytes and MaxAge what it keeps: 0 is NATS' default for a
	// stream that is made, and whatever it is for one that is there. One that is there and is otherwise is an error.
	Replicas int
	MaxBytes int64
	MaxAge   time.Duration

	// HistoryBytes is how much of the stream is delivered as history: at the start, or with Channels of those that somebody
	// connects to; and HistoryAge how old it may be, where 0 is no bound.
	HistoryBytes int64
	HistoryAge   time.Duration

	// Channels says that there may be many: only those are read that somebody is connected to, or was within Linger,
	// which defaults to a minute. If there are more than 256 of these, all are, until they are few again; in the fast mode,
	// more than 4096, and for good.
	Channels bool
	Linger   time.Duration

	// Queue is how many messages may wait in the fast mode to be handed to NATS; more are dropped. Defaults to 65536.
	Queue int
	// QueueBytes is the same in bytes, of which each message takes up 128 besides. Defaults to 16 MiB.
	QueueBytes int

	// InFlight is how many messages may be on their way into the stream; WebSocket publishers are not read while there
	// are more. Defaults to 1024.
	InFlight int
	// InFlightBytes is the same in bytes. Defaults to 16 MiB.
	InFlightBytes int

	// PresenceBytes is presence.Config's TableBytes, and defaults to the same.
	PresenceBytes int

	// Timeout is how long NATS may take to answer. Defaults to 5 s.
	Timeout time.Duration

	// Waiting, if set, is called while Open, OpenFast or Start waits. The error says why they wait. Waiting must not
	// block.
	Waiting func(why error)

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

const (
	defaultInFlightBytes = 16 << 20
	defaultQueueBytes    = 16 << 20
)

// MemoryBytes is what a Cluster takes up at the most with the defaults of InFlightBytes and PresenceBytes, as long as messages
// have at most 4 MiB.
const MemoryBytes = 2*defaultInFlightBytes + 2*(pullBytes+fillBytes) + presence.DefaultTableBytes + presence.MemoryBytes

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

// Errors of a Cluster; the last one is a Fast's, too.
var (
	// ErrStream: the stream is there and is not as Config wants it. It is not altered.
	ErrStream = errors.New("cluster: the stream is not as it should be")
	// ErrUnalterable: it is an ErrStream, and NATS does not let it be altered to be as it should.
	ErrUnalterable = fmt.Errorf("%w, and cannot be altered to be", ErrStream)
	// ErrNoJetStream: JetStream is off, at this server of NATS or for this account there.
	ErrNoJetStream = errors.New("cluster: JetStream is not on")
	// ErrBehind: the stream has dropped messages that this server has not had.
	ErrBehind = errors.New("cluster: the stream does not have any more what comes next here")
	// ErrDeleted: the stream is not there any more.
	ErrDeleted = errors.New("cluster: the stream was deleted")
	// ErrReplaced: the stream is another one than it was.
	ErrReplaced = errors.New("cluster: the stream was deleted and made anew")
	// ErrWentBack: the stream has lost messages that this server has got, and gives their places to others.
	ErrWentBack = errors.New("cluster: the stream has gone back")
	// ErrClosed: NATS has ended the connection in a way after which there is no coming back.
	ErrClosed = errors.New("cluster: NATS has closed the connection for good")
)

// Cluster is a server's part in a cluster: a broadcast.Order. Make one with Open, give it to the server's Config
// with its Epoch, call Start, and in the end Close.
type Cluster struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	created time.Time // The stream.
	epoch   string
	maxAge  time.Duration // Of what is in the stream; 0 if that does not matter.

	remembers time.Duration // How long the stream knows the ids of messages.
	begin     uint64        // Where in the stream this server begins.
	ready     uint64        // Set by Start: a marker, which it is to have got before it is ready.

	srv       *broadcast.Server // Set by Start.
	out       publisher
	interest  interest
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
	connected atomic.Bool // As the handlers know it: to ask the connection may take as long as a write to NATS.
	silent    atomic.Bool // The stream did not answer when watch asked it last.
	unheard   atomic.Bool // NATS has ended what answers come by, or refused it.
	deaf      atomic.Bool // For long, the reader has got nothing of what there is.
	largest   int         // What the stream takes.
	failed    chan error
	warm      chan struct{} // Closed by warmed.
	once      sync.Once
	began     time.Time // Immutable.

	waits atomic.Pointer[error] // What Start waits for; nil before it knows.

	ahead bell                  // Somebody wants to know how far the reader is.
	doubt bell                  // watch is to look.
	back  atomic.Pointer[error] // ErrWentBack, once that is sure.

	said, saidReading seldom // What may be logged again and again.

	reading atomic.Pointer[context.CancelCauseFunc] // Has the reader begin anew.
	upTo    atomic.Uint64                           // What the reader is to have read before this server is ready, or unknown.
	outages atomic.Uint64                           // How often the connection was lost.

	// Written by the reader.
	delivered   atomic.Uint64
	deliveredAt atomic.Int64  // When that was published, in ns of Unix time.
	pending     atomic.Uint64 // What NATS had behind that for this server, when it sent that.
	rereads     atomic.Uint64

	lacks atomic.Uint64 // Written by the reader, and by who fills.

	// Owned by the reader: the stream when whole was asked.
	seen   *jetstream.StreamInfo
	seenAt time.Time

	presence *presence.Presence // Immutable after Open.
}

// Open connects to NATS, and makes the stream unless it exists. While NATS is not reachable or has no majority, it
// waits until ctx is done, and logs what it waits for. The errors are ErrStream, ErrUnalterable, ErrNoJetStream, that
// of ctx, and errors of NATS that waiting cannot solve, such as an unknown user or a missing permission.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	c := &Cluster{cfg: cfg, began: time.Now(), failed: make(chan error, 1), warm: make(chan struct{}), ahead: newBell(), doubt: newBell()}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.out.init(c)
	c.interest.init(c)
	nc, err := cfg.connect(ctx, c.options()...)
	if err != nil {
		return nil, err
	}
	c.nc = nc
	c.connected.Store(true)
	c.presence = presence.New(nc, presence.Config{Subject: cfg.Stream + ".presence", TableBytes: cfg.PresenceBytes, Logger: cfg.Logger})
	if err := c.starting(ctx, c.awaitStream); err != nil {
		c.cancel()
		nc.Close()
		return nil, err
	}
	return c, nil
}

// MaxMessageBytes is how large a message may be that the stream takes.
func (c *Cluster) MaxMessageBytes() int { return c.largest - headerBytes }

// headerBytes is what the headers of a message take up, at most.
const headerBytes = 256

// Epoch is what the ids of all servers of the cluster begin with: it stands for the stream.
func (c *Cluster) Epoch() string { return c.epoch }

// Start begins to deliver to srv, which was made with the Cluster as its Order, and returns when srv has the history, or with
// ctx's error, or with what NATS does not permit: before, srv must not be served, as clients would get the history for what is new.
func (c *Cluster) Start(ctx context.Context, srv *broadcast.Server) error {
	c.srv = srv
	return c.starting(ctx, c.start)
}

func (c *Cluster) start(ctx context.Context) error {
	srv := c.srv
	srv.BeginBehind(c.begin - 1)
	srv.Delivered(c.begin - 1)
	c.delivered.Store(c.begin - 1)
	c.deliveredAt.Store(time.Now().UnixNano())
	if err := c.presence.Start(srv); err != nil {
		return err
	}
	for {
		marker, err := c.mark(ctx)
		if err == nil {
			c.ready = marker
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		c.waitsFor(err)
		c.pause()
	}
	c.waitsFor(fmt.Errorf("it was not read yet up to %d", c.ready))
	c.running.Go(c.consume)
	c.running.Go(c.watch)
	c.running.Go(c.out.run)
	if c.cfg.Channels {
		c.running.Go(c.interest.run)
	}
	select {
	case <-c.warm:
		return nil
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("cluster: reading the stream: %w", ctx.Err())
	}
}

// warmed says that srv has the history.
func (c *Cluster) warmed() { c.once.Do(func() { close(c.warm) }) }

// Failed gets an error when this server cannot go on, ErrBehind, ErrDeleted, ErrReplaced, ErrWentBack or ErrClosed: it is to be ended and started again,
// so that clients come back and are told what is missing.
func (c *Cluster) Failed() <-chan error { return c.failed }

// Close ends what Start began: what is on its way into the stream is waited for until ctx is done. The server
// may be closed already.
func (c *Cluster) Close(ctx context.Context) {
	c.out.drain(ctx)
	c.cancel()
	ended := make(chan struct{})
	go func() { // Ends with what Start began.
		c.presence.Close()
		c.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(min(c.cfg.Timeout, time.Second)): // It waits for an answer of NATS, which it will not get now.
	}
	c.nc.Close()
}

// Presence knows how many connections channels have at all servers, from Start on.
func (c *Cluster) Presence() *presence.Presence { return c.presence }

// Ready says what keeps this server from being a full part of the cluster, or nil.
func (c *Cluster) Ready() error {
	switch err := c.away(); {
	case err != nil:
		return err
	case c.deaf.Load():
		return errDeaf
	case c.delivered.Load() < c.upTo.Load():
		return errNotYet
	}
	return nil
}

// away says why nothing can be published, or nil.
func (c *Cluster) away() error {
	switch {
	case !c.connected.Load():
		return errNotReachable
	case c.silent.Load():
		return errSilent
	}
	return nil
}
