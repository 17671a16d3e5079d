package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster/presence"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of OpenOrdered, and of the channel that Failed returns. ErrClosed is also an error of a Fast.
var (
	// ErrStream means that the existing stream has other settings than Config asks for. It was not altered.
	ErrStream = errors.New("cluster: the existing stream has other settings than this server needs")
	// ErrUnalterable wraps ErrStream: NATS cannot alter one of these settings, so the stream must be deleted.
	ErrUnalterable = fmt.Errorf("%w, which cannot be altered", ErrStream)
	// ErrNoJetStream means that JetStream is disabled, on the NATS server or for this account.
	ErrNoJetStream = errors.New("cluster: JetStream is not enabled")
	// ErrLapped means that the stream has dropped messages that this server has not delivered.
	ErrLapped = errors.New("cluster: the stream no longer holds this server's next message")
	// ErrDeleted means that the stream no longer exists.
	ErrDeleted = errors.New("cluster: the stream was deleted")
	// ErrReplaced means that the stream was deleted, and another one with its name was created.
	ErrReplaced = errors.New("cluster: the stream was deleted and created again")
	// ErrRolledBack means that the stream has lost messages that this server has delivered, and gives their sequence
	// numbers to others.
	ErrRolledBack = errors.New("cluster: the stream was rolled back")
	// ErrClosed means that NATS closed the connection after an error that its client does not reconnect after.
	ErrClosed = errors.New("cluster: NATS closed the connection for good")
)

// Ordered makes one server a member of a cluster in the ordered mode. It is the broadcast.Order and the
// broadcast.Follower of that server. Call OpenOrdered, set broadcast.Config.Replication to the result of Replication,
// call Start, and finally call Close. Methods are safe for concurrent use, except Start.
type Ordered struct {
	// Immutable after OpenOrdered.
	cfg           OrderedConfig
	opened        time.Time
	nc            *nats.Conn
	js            jetstream.JetStream
	presence      *presence.Presence
	ctx           context.Context
	cancel        context.CancelFunc // Called by Close, or by OpenOrdered if it fails.
	streamCreated time.Time
	epoch         string
	maxAge        time.Duration // Of messages in the stream; 0 is no bound.
	dedupWindow   time.Duration // See doc.go.
	startSeq      uint64        // The first sequence number that the reader reads.
	maxPayload    int           // Of a message in the stream, with its headers.

	// Immutable after Start.
	replica  *broadcast.Replica
	readySeq uint64 // The sequence number of a marker: the server has the history when the reader is there.

	// Safe for concurrent use, or guarded as their types say.
	publisher   publisher
	interest    interest
	running     sync.WaitGroup // The goroutines of Start and of deleteConsumer; Close waits for them.
	failed      chan error     // Capacity 1: written by fail.
	historyRead chan struct{}  // Closed by markHistoryRead.
	historyOnce sync.Once
	moreAsked   bell          // Rung by Ahead: a client needs a message that the reader may not have reached.
	recheck     bell          // Rung by handlers and checkSeq: watch looks at the stream now.
	skippedLog  oncePerSecond // For messages and channels that are skipped or read again.
	rereadLog   oncePerSecond

	// Atomic: written by handlers of NATS' client, read by all. The client's own state may be locked for as long as a
	// write to NATS takes.
	connected   atomic.Bool
	outages     atomic.Uint64 // How often the connection was lost.
	inboxDenied atomic.Bool   // NATS refused the subscription that its answers need. Reset by watch.

	// Atomic: written by watch, read by all.
	silent atomic.Bool // The stream has not answered for a while.
	stuck  atomic.Bool // The reader has not received messages that the stream holds for a long time.

	// Atomic: written by watch, and by handlers when the connection is lost; read by all. The server is ready when the
	// reader is there. unknownSeq while NATS is unavailable.
	catchUpSeq atomic.Uint64

	// Atomic: written once by checkSeq, read by watch.
	rolledBack atomic.Pointer[error] // An ErrRolledBack.

	// Atomic: written by OpenOrdered and Start, read by logWaiting. nil before the reason is known.
	waitReason atomic.Pointer[error]

	// Atomic: written by the reader, read by all. delivered is the sequence number of the last delivered message.
	delivered     atomic.Uint64
	deliveredAt   atomic.Int64  // When the stream stored that message, in ns since 1970.
	pending       atomic.Uint64 // How many more messages NATS had for this server at that time.
	rereads       atomic.Uint64
	cancelReading atomic.Pointer[context.CancelCauseFunc] // Called by restartReader.

	// Atomic: written by the reader and by interest.run.
	skipped atomic.Uint64 // Messages of the stream that could not be delivered.

	// Owned by the reader: the answer when checkNotLapped last asked, and when that was.
	lastInfo   *jetstream.StreamInfo
	lastInfoAt time.Time
}

// OpenOrdered connects to NATS, and creates the stream if it does not exist. While NATS is unreachable or has no
// majority, OpenOrdered waits until ctx is done, and logs the reason. It returns ErrStream, ErrUnalterable,
// ErrNoJetStream, the error of ctx, or an error of NATS that waiting cannot solve, such as an unknown user or a missing
// permission.
func OpenOrdered(ctx context.Context, cfg OrderedConfig) (*Ordered, error) {
	cfg = cfg.withDefaults()
	c := &Ordered{
		cfg: cfg, opened: time.Now(), failed: make(chan error, 1), historyRead: make(chan struct{}),
		moreAsked: newBell(), recheck: newBell(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.publisher.init(c)
	c.interest.init(c)
	nc, err := cfg.connect(ctx, c.options()...)
	if err != nil {
		return nil, err
	}
	c.nc = nc
	c.connected.Store(true)
	c.presence = presence.New(nc, presence.Config{
		Subject: cfg.Stream + ".presence", TableBytes: cfg.PresenceBytes, Logger: cfg.Logger,
	})
	if err := c.runStep(ctx, c.awaitStream); err != nil {
		c.cancel()
		nc.Close()
		return nil, err
	}
	return c, nil
}

// MaxMessageBytes returns the largest payload that the stream accepts.
func (c *Ordered) MaxMessageBytes() int { return c.maxPayload - headerBytes }

// headerBytes is the most that the headers of a message take up.
const headerBytes = 256

// Epoch returns the part of message IDs that stands for the stream. It is the same on all servers of the cluster.
func (c *Ordered) Epoch() string { return c.epoch }

// Replication returns the setting that makes a server part of the cluster.
func (c *Ordered) Replication() broadcast.Replication {
	return broadcast.Replication{Order: c, Epoch: c.epoch, Follower: c}
}

// Start makes the Ordered deliver to srv, which must have been made with the Ordered as its Order. It returns when srv
// has the history, with the error of ctx, or with a permission that NATS denies. srv must not serve clients before, as
// they would receive the history as new messages. Start must be called once.
func (c *Ordered) Start(ctx context.Context, srv *broadcast.Server) error {
	c.replica = srv.Replica()
	return c.runStep(ctx, c.start)
}

func (c *Ordered) start(ctx context.Context) error {
	c.replica.StartAfter(c.startSeq - 1)
	c.replica.SetDelivered(c.startSeq - 1)
	c.delivered.Store(c.startSeq - 1)
	c.deliveredAt.Store(time.Now().UnixNano())
	if err := c.presence.Start(c.replica); err != nil {
		return err
	}
	for {
		marker, err := c.putMarker(ctx)
		if err == nil {
			c.readySeq = marker
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		c.setWaitReason(err)
		c.pause()
	}
	c.setWaitReason(fmt.Errorf("reading the stream up to message %d", c.readySeq))
	// All of them end when c.ctx is cancelled; Close waits for them.
	c.running.Go(c.consume)
	c.running.Go(c.watch)
	c.running.Go(c.publisher.run)
	if c.cfg.Channels {
		c.running.Go(c.interest.run)
	}
	select {
	case <-c.historyRead:
		return nil
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("cluster: reading the stream: %w", ctx.Err())
	}
}

// markHistoryRead notes that srv has the history. It pairs with readingHistory.
func (c *Ordered) markHistoryRead() { c.historyOnce.Do(func() { close(c.historyRead) }) }

// readingHistory reports whether the server does not have all of the history yet. It has no connections until then.
func (c *Ordered) readingHistory() bool {
	select {
	case <-c.historyRead:
		return false
	default:
		return true
	}
}

// Failed returns a channel that receives an error when this server cannot continue: ErrLapped, ErrDeleted,
// ErrReplaced, ErrRolledBack or ErrClosed. The process should end and be started again, so that clients reconnect and
// are told of the gap.
func (c *Ordered) Failed() <-chan error { return c.failed }

// Close stops what Start started. It waits for messages on their way into the stream until ctx is done. The server may
// already be closed.
func (c *Ordered) Close(ctx context.Context) {
	c.publisher.drain(ctx)
	c.cancel()
	ended := make(chan struct{})
	go func() { // Ends with the goroutines of Start. Close waits for it, within the bound below.
		c.presence.Close()
		c.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(min(c.cfg.Timeout, time.Second)): // One of them waits for an answer of NATS, which nc.Close ends.
	}
	c.nc.Close()
}

// Presence returns the counts of connections at all servers. They are valid after Start has returned.
func (c *Ordered) Presence() *presence.Presence { return c.presence }

// Ready returns why this server does not deliver everything, or nil if it does. It does not block.
func (c *Ordered) Ready() error {
	switch err := c.unavailable(); {
	case err != nil:
		return err
	case c.stuck.Load():
		return errNotReceiving
	case c.delivered.Load() < c.catchUpSeq.Load():
		return errCatchingUp
	}
	return nil
}

// unavailable returns why nothing can be published, or nil if messages can be.
func (c *Ordered) unavailable() error {
	switch {
	case !c.connected.Load():
		return errNotReachable
	case c.silent.Load():
		return errSilent
	}
	return nil
}
