package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster/presence"
	"github.com/nats-io/nats.go"
)

// Fast makes one server a member of a cluster in the fast mode. A message that is published at this server is delivered
// here at once, and forwarded over core NATS to the other servers. They receive each message at most once, and the
// messages of one publisher in their order. Call OpenFast, set broadcast.Config.Replication to the result of
// Replication, call Start, and finally call Close. Methods are safe for concurrent use, except Start.
type Fast struct {
	// Immutable after OpenFast.
	cfg      FastConfig
	nc       *nats.Conn
	presence *presence.Presence
	prefix   string // Of the subjects of channels.
	origin   string // Stands for this process in the messages that it forwards.
	ctx      context.Context
	cancel   context.CancelFunc // Called by Close, or by OpenFast if it fails.

	// Safe for concurrent use, or guarded as their types say.
	outbox        outbox
	inbound       inbound
	subscriptions subscriptions
	running       sync.WaitGroup // The goroutines of Start; Close waits for them.
	failed        chan error     // Capacity 1: written once, when NATS closes the connection.

	connected atomic.Bool // Written by handlers of NATS' client, read by all; see Ordered.
}

// FastStats are the figures of a Fast. Counts are of messages, since OpenFast.
type FastStats struct {
	// Forwarded is how many were handed to the connection with NATS. Those that are on their way when it breaks are
	// lost. Received is how many messages of other servers were delivered here.
	Forwarded, Received uint64

	// DroppedOut is how many were not handed to NATS, by reason: "full" (too many were queued), "old" (queued for
	// longer than Config.Timeout), "refused" (NATS does not accept the message, or the connection broke), "closed"
	// (still queued when the Fast was closed).
	DroppedOut map[string]uint64

	// DroppedIn is how many arrived and were not delivered, by reason: "full" (too many were queued, as the server was
	// behind), "late" (newer messages of the same server had arrived), "refused" (the server does not accept it).
	DroppedIn map[string]uint64
}

// OpenFast connects to NATS. While NATS is unreachable, OpenFast waits until ctx is done, and logs the reason. It
// returns the error of ctx, or an error of NATS that waiting cannot solve.
func OpenFast(ctx context.Context, cfg FastConfig) (*Fast, error) {
	cfg = cfg.withDefaults()
	f := &Fast{cfg: cfg, prefix: cfg.Stream + ".fast.", origin: rand.Text(), failed: make(chan error, 1)}
	f.outbox.init(f)
	f.inbound.init(f)
	f.subscriptions.init(f)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	nc, err := cfg.connect(ctx, f.options()...)
	if err != nil {
		f.cancel()
		return nil, err
	}
	f.nc = nc
	f.presence = presence.New(nc, presence.Config{
		Subject: f.prefix + "presence", TableBytes: cfg.PresenceBytes, Logger: cfg.Logger,
	})
	f.connected.Store(true)
	return f, nil
}

// options returns the connection options of a Fast that differ from those of an Ordered. The handlers must not block
// other than for Config.Timeout: nats.go calls them in one goroutine.
func (f *Fast) options() []nats.Option {
	log := f.cfg.Logger
	logError := errorLogger(log)
	return []nats.Option{
		nats.ErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
			logError(nc, sub, err)
			f.subscriptions.noteError(err)
		}),
		nats.NoEcho(),
		nats.ReconnectOnFlusherError(), // If one NATS server is stuck, another one may not be.
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			f.connected.Store(false)
			if f.ctx.Err() == nil {
				log.Warn("lost the connection to NATS: no messages from or to other servers", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			_ = nc.FlushTimeout(f.cfg.Timeout) // Messages arrive only when NATS has the subscriptions again.
			f.connected.Store(true)
			log.Info("reconnected to NATS", "server", nc.ConnectedAddr())
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			f.connected.Store(false)
			if f.ctx.Err() == nil {
				f.failed <- fmt.Errorf("%w: %v", ErrClosed, nc.LastError()) // Called once, so this does not block.
			}
		}),
	}
}

// MaxMessageBytes returns the largest payload that NATS accepts and that fits into the queues of a Fast.
func (f *Fast) MaxMessageBytes() int {
	return min(int(f.nc.MaxPayload()), f.cfg.QueueBytes, inboundBytes) - headerBytes
}

// Replication returns the setting that makes a server part of the cluster.
func (f *Fast) Replication() broadcast.Replication {
	return broadcast.Replication{Forward: f.Forward, Follower: f}
}

// Start makes the Fast deliver messages of other servers to srv, which must have been made with its Forward, and
// forward those of srv. It returns when NATS has the subscriptions, with the error of ctx, or with an error of NATS
// if this server may not publish or subscribe. Start must be called once.
func (f *Fast) Start(ctx context.Context, srv *broadcast.Server) error {
	f.inbound.replica = srv.Replica()
	if err := f.subscriptions.start(); err != nil {
		return fmt.Errorf("cluster: subscribing to %s*: %w", f.prefix, err)
	}
	if err := f.cfg.retryTransient(ctx, f.cfg.Servers, func() error { return f.tryPublish(ctx) }); err != nil {
		return fmt.Errorf("cluster: publishing to %s*: %w", f.prefix, err)
	}
	err := f.nc.LastError()
	if errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return fmt.Errorf("cluster: %w", err)
	}
	// All of them end when f.ctx is cancelled; Close waits for them.
	f.running.Go(f.inbound.collect)
	f.running.Go(f.inbound.run)
	f.running.Go(f.subscriptions.run)
	f.running.Go(f.outbox.run)
	f.running.Go(f.logDrops)
	// A missing permission for presence is no error here: NATS reports it to the error handler.
	return f.presence.Start(srv.Replica())
}

// tryPublish publishes a message that other servers ignore, and waits until NATS has processed it and the
// subscriptions. The connection may be lost in the meantime.
func (f *Fast) tryPublish(ctx context.Context) error {
	if err := f.outbox.publishProbe(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	return f.nc.FlushWithContext(ctx)
}

// Presence returns the counts of connections at all servers. They are valid after Start has returned.
func (f *Fast) Presence() *presence.Presence { return f.presence }

// Failed returns a channel that receives ErrClosed when this server cannot continue. The process should end and be
// started again.
func (f *Fast) Failed() <-chan error { return f.failed }

// Ready returns why this server does not receive messages of the others, or nil if it does. It does not block.
func (f *Fast) Ready() error {
	if !f.connected.Load() {
		return errNotReachable
	}
	if f.subscriptions.refused.Load() {
		return errRefused
	}
	return nil
}

// Close stops what Start started. It waits until queued messages are forwarded, or ctx is done. The server may already
// be closed.
func (f *Fast) Close(ctx context.Context) {
	f.outbox.drain(ctx)
	f.cancel()
	f.presence.Close()
	f.running.Wait() // Each of them waits at most for a write, which Config.Timeout bounds.
	f.nc.Close()
}

// Settle returns at once: messages that were published here are already delivered here. It exists because an Ordered
// has it.
func (f *Fast) Settle(context.Context) {}

// Stats returns the current figures.
func (f *Fast) Stats() FastStats {
	return FastStats{
		Forwarded: f.outbox.forwarded.Load(), Received: f.inbound.received.Load(),
		DroppedOut: f.outbox.drops(), DroppedIn: f.inbound.drops(f.subscriptions.dropped()),
	}
}

// logDrops logs once a second if messages were dropped, until the Fast is closed.
func (f *Fast) logDrops() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := f.Stats()
	for {
		select {
		case <-ticker.C:
		case <-f.ctx.Done():
			return
		}
		now := f.Stats()
		if !maps.Equal(now.DroppedOut, last.DroppedOut) || !maps.Equal(now.DroppedIn, last.DroppedIn) {
			f.cfg.Logger.Warn("dropped messages between servers; totals so far",
				"to_others", now.DroppedOut, "from_others", now.DroppedIn)
		}
		last = now
	}
}
