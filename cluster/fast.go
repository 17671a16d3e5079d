package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster/presence"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Fast is a server's part in a cluster without a stream: what is published here is delivered here at once, and
// handed to core NATS for the other servers, which get it at most once, that of one publisher in its order. Make one with
// Open, give its Forward to the server's Config, call Start, and in the end Close. Its methods may be called from any
// goroutine.
type Fast struct {
	// Immutable after construction.
	cfg    Config
	nc     *nats.Conn
	prefix string // Of the subjects.
	origin string // Stands for this process in what it forwards.
	ctx    context.Context
	cancel context.CancelFunc
	failed chan error

	presence *presence.Presence

	out     outbox
	in      inbound
	subs    subscriptions
	running sync.WaitGroup

	connected atomic.Bool // As the handlers know it, see Cluster.
}

// FastStats is what a Fast has done since it was opened.
type FastStats struct {
	// Forwarded is how many messages were handed to the connection with NATS: should that break, those are
	// lost that were on their way. Received is how many of other servers were delivered here.
	Forwarded, Received uint64

	// DroppedOut is how many messages were not handed to NATS, by why: "full" (too many waited), "old" (it waited for
	// longer than Config.Timeout), "refused" (NATS does not take it, or the connection broke), "closed" (left at the end).
	DroppedOut map[string]uint64

	// DroppedIn is how many messages came and were not delivered, by why: "full" (too many waited, as the server was
	// behind), "late" (newer ones of its server had come before), "refused" (the server does not take it).
	DroppedIn map[string]uint64
}

// FastMemoryBytes is what a Fast takes up at the most with the defaults of Queue, QueueBytes and PresenceBytes, as long as messages have
// at most 4 MiB.
const FastMemoryBytes = defaultQueueBytes + pendingBytes + pendingMessages*pendingMessageBytes + 16<<20 + presence.DefaultTableBytes + presence.MemoryBytes

// OpenFast connects to NATS. While NATS is not reachable, OpenFast waits until ctx is done, and logs why. The errors
// are that of ctx, and errors of NATS that waiting cannot solve.
func OpenFast(ctx context.Context, cfg Config) (*Fast, error) {
	cfg = cfg.withDefaults()
	f := &Fast{cfg: cfg, prefix: cfg.Stream + ".fast.", origin: nuid.Next(), failed: make(chan error, 1)}
	f.out.init(f)
	f.in.init(f)
	f.subs.init(f)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	nc, err := cfg.connect(ctx, f.options()...)
	if err != nil {
		f.cancel()
		return nil, err
	}
	f.nc = nc
	f.presence = presence.New(nc, presence.Config{Subject: f.prefix + "presence", TableBytes: cfg.PresenceBytes, Logger: cfg.Logger})
	f.connected.Store(true)
	return f, nil
}

func (f *Fast) options() []nats.Option {
	log := f.cfg.Logger
	say := says(log)
	return []nats.Option{
		nats.ErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
			say(nc, sub, err)
			f.subs.hear(err)
		}),
		nats.NoEcho(),
		nats.ReconnectOnFlusherError(), // A server that stands still: another may not.
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			f.connected.Store(false)
			if f.ctx.Err() == nil {
				log.Warn("NATS is gone: other servers are not heard, nor hear", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			_ = nc.FlushTimeout(f.cfg.Timeout) // Until it has the subscription again, others are not heard.
			f.connected.Store(true)
			log.Info("NATS is back", "server", nc.ConnectedAddr())
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			f.connected.Store(false)
			if f.ctx.Err() == nil {
				f.failed <- fmt.Errorf("%w: %v", ErrClosed, nc.LastError()) // It closes once.
			}
		}),
	}
}

// MaxMessageBytes is how large a message may be that NATS takes, and that has room where it waits, here and at other servers.
func (f *Fast) MaxMessageBytes() int {
	return min(int(f.nc.MaxPayload()), f.cfg.QueueBytes, pendingBytes) - headerBytes
}

// Start begins to deliver to srv, which was made with Forward, what other servers forward, and to forward. It returns when NATS
// knows of it, or with ctx's error, or with NATS' if this server may not publish or subscribe.
func (f *Fast) Start(ctx context.Context, srv *broadcast.Server) error {
	f.in.srv = srv
	if err := f.subs.begin(); err != nil {
		return fmt.Errorf("cluster: subscribing to %s*: %w", f.prefix, err)
	}
	if err := f.cfg.reachable(ctx, f.cfg.Servers, func() error { return f.tryOut(ctx) }); err != nil {
		return fmt.Errorf("cluster: publishing to %s*: %w", f.prefix, err)
	}
	if err := f.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return fmt.Errorf("cluster: %w", err)
	}
	f.running.Go(f.in.collect)
	f.running.Go(f.in.run)
	f.running.Go(f.subs.run)
	f.running.Go(f.out.run)
	f.running.Go(f.watch)
	return f.presence.Start(srv) // Without permission for that, it goes on.
}

// tryOut publishes a message, and waits until NATS has processed the message and the subscriptions. The connection
// may be lost meanwhile.
func (f *Fast) tryOut(ctx context.Context) error {
	if err := f.out.probe(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	return f.nc.FlushWithContext(ctx)
}

// Presence knows how many connections channels have at all servers.
func (f *Fast) Presence() *presence.Presence { return f.presence }

// Failed gets ErrClosed when this server cannot go on: it is to be ended and started again.
func (f *Fast) Failed() <-chan error { return f.failed }

// Ready says what keeps this server from hearing the others, or nil.
func (f *Fast) Ready() error {
	if !f.connected.Load() {
		return errNotReachable
	}
	if f.subs.deaf.Load() {
		return errRefused
	}
	return nil
}

// Close ends what Start began: what is to be forwarded is, unless ctx is done before. The server may be closed
// already.
func (f *Fast) Close(ctx context.Context) {
	f.out.drain(ctx)
	f.cancel()
	f.presence.Close()
	f.running.Wait() // None of them waits for more than a write, which is bounded by Config.Timeout.
	f.nc.Close()
}

// Settle is Cluster's: what is published here was delivered here at once.
func (f *Fast) Settle(context.Context) {}

// Stats is what it has done.
func (f *Fast) Stats() FastStats {
	return FastStats{
		Forwarded: f.out.forwarded.Load(), Received: f.in.received.Load(),
		DroppedOut: f.out.drops(), DroppedIn: f.in.drops(f.subs.dropped()),
	}
}

// watch says when messages are dropped, at most once a second, until the end.
func (f *Fast) watch() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	was := f.Stats()
	for {
		select {
		case <-ticker.C:
		case <-f.ctx.Done():
			return
		}
		is := f.Stats()
		if !maps.Equal(is.DroppedOut, was.DroppedOut) || !maps.Equal(is.DroppedIn, was.DroppedIn) {
			f.cfg.Logger.Warn("messages between servers were dropped; in all", "to_others", is.DroppedOut, "from_others", is.DroppedIn)
		}
		was = is
	}
}
