package cluster

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go/jetstream"
)

// publisher puts messages into the stream. The messages of a channel keep their order, whatever happens: the stream may
// refuse a message and accept the next one, and when its leader changes, it may lose some of the messages on their way
// and keep later ones. So no message is sent before the stream has the earlier messages of its channel, except in one
// batch with them, which the stream accepts as a whole or not at all. NATS calls it an atomic batch (ADR-50).
//
// If the stream accepts batches and enough messages are queued, one batch is on its way and nothing else. Otherwise one
// message of each channel is, and a failure makes the publisher send all of these again. Each message has an ID by which
// the stream recognizes messages that it already holds.
type publisher struct {
	// Immutable after init.
	c        *Ordered
	idPrefix string      // Of the message IDs of this process, and part of the subject of its markers.
	wake     bell        // Rung when there is something to send, or the connection has changed.
	denied   chan string // Subjects that NATS does not let this server publish to. Written by noteDenied, read by run.

	mu         sync.Mutex
	queue      []*entry // Guarded by mu: not sent yet.
	inFlight   int      // Guarded by mu: the length of sent.
	bytes      int      // Guarded by mu: payloads in queue and sent.
	lastNumber uint64   // Guarded by mu: of the newest entry.
	firstSent  *entry   // Guarded by mu: the oldest of sent, or nil.
	held       bool     // Guarded by mu: the server holds its publishers.
	closed     bool     // Guarded by mu: nothing more is taken.

	// Atomic: written by run, read by Stats.
	published, resent, lost atomic.Uint64
	publishTime             atomic.Int64 // In ns: the sum over all published messages.

	// Owned by run. OpenOrdered sets minBatch before.
	sent          []*entry        // Sent and not acknowledged, in their order.
	sending       map[string]bool // The channels of sent.
	minBatch      int             // How many queued messages are sent as a batch; 0 if the stream accepts none.
	retryDelay    time.Duration   // Before sent is sent again; 0 after a success.
	retryLoggedAt time.Time
	lostLog       oncePerSecond
}

// entry is a message on its way into the stream. Very many may be queued, so the NATS message is made when it is sent.
// Its fields are owned by publisher.run once it is taken from the queue.
type entry struct {
	channel  string
	message  broadcast.Message // The payload is a copy.
	number   uint64            // Part of its message ID, unless result has a key.
	queuedAt time.Time

	future   jetstream.PubAckFuture // In the first entry of a batch, until it has resolved; otherwise nil.
	ack      *jetstream.PubAck      // In the first entry of a batch: an acknowledgement that came late.
	batchLen int                    // How many entries its batch has.
	readerAt uint64                 // The sequence number that was delivered last when it was sent.

	result *result // nil if nobody waits for it.
	index  int     // Of this message in result.
}

// key returns the key that its publisher has chosen for the message ID, or "".
func (e *entry) key() string {
	if e.result == nil {
		return ""
	}
	return e.result.key
}

// result is the outcome of messages that Publish waits for.
type result struct {
	key       string   // Immutable: the message IDs begin with it; "" for none.
	ids       []uint64 // Owned by run until done is closed.
	remaining int      // Owned by run: how many have no sequence number yet.
	err       error    // Owned by run until done is closed.
	done      chan struct{}

	wasSent   bool        // Guarded by publisher.mu: one of the messages was sent.
	abandoned atomic.Bool // Written by Publish, read by idExpired: the caller was told that the outcome is unknown.
}

func (p *publisher) init(c *Ordered) {
	p.c, p.idPrefix, p.wake, p.denied = c, rand.Text()+"-", newBell(), make(chan string, 16)
	p.sending = make(map[string]bool)
}

// Submit implements broadcast.Order: it takes a message of a WebSocket connection, and copies its payload.
func (c *Ordered) Submit(channel string, m broadcast.Message) {
	// The error is ErrServerClosed: the connection is about to be closed, and the message is lost with it.
	_ = c.publisher.enqueue(nil, broadcast.Addressed{Channel: channel, Message: m})
}

// Ahead implements broadcast.Order. It has a marker put into the stream, which shows how far the reader is.
func (c *Ordered) Ahead() { c.moreAsked.ring() }

// Reasons in the errors of Publish.
var (
	errTooMany  = errors.New("too many messages wait for the stream")
	errFull     = errors.New("the stream accepts nothing at the moment")
	errNoAnswer = errors.New("the stream did not answer in time")
)

// Publish implements broadcast.Order: it waits until the stream has all messages, and returns their IDs. Payloads are
// copied. An error is or wraps broadcast.ErrUnavailable or broadcast.ErrServerClosed, or is a permanent refusal.
func (c *Ordered) Publish(ctx context.Context, messages []broadcast.Addressed) ([]uint64, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	r := &result{ids: make([]uint64, len(messages)), remaining: len(messages), done: make(chan struct{})}
	if err := c.unavailable(); err != nil {
		return nil, fmt.Errorf("%w: %w: nothing was published", broadcast.ErrUnavailable, err)
	}
	if key, ok := broadcast.OnceOf(ctx); ok {
		r.key = base64.RawURLEncoding.EncodeToString(key[:]) + "-"
	}
	if err := c.publisher.enqueue(r, messages...); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.ids, r.err
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	if c.publisher.takeBack(r) {
		return nil, fmt.Errorf("%w: %w: nothing was published", broadcast.ErrUnavailable, errFull)
	}
	select {
	case <-r.done: // In the meantime.
		return r.ids, r.err
	default:
		r.abandoned.Store(true)
		return nil, fmt.Errorf("%w: %w: the message may be published or not", broadcast.ErrUnavailable, errNoAnswer)
	}
}

// enqueue queues messages and copies their payloads. Without a result it always takes them, as the connections they
// come from are held in time. With one it returns broadcast.ErrUnavailable if too many bytes are on their way.
func (p *publisher) enqueue(r *result, messages ...broadcast.Addressed) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return broadcast.ErrServerClosed
	}
	if r != nil && p.bytes > p.c.cfg.InFlightBytes {
		return fmt.Errorf("%w: %w: nothing was published", broadcast.ErrUnavailable, errTooMany)
	}
	now := time.Now()
	for i, m := range messages {
		p.lastNumber++
		m.Payload = slices.Clone(m.Payload)
		p.queue = append(p.queue, &entry{
			channel: m.Channel, message: m.Message, number: p.lastNumber, queuedAt: now, result: r, index: i,
		})
		p.bytes += len(m.Payload)
	}
	p.updateHoldLocked()
	p.wake.ring()
	return nil
}

// noteDenied notes a subject that NATS did not let this server publish to. It does not block.
func (p *publisher) noteDenied(subject string) {
	select {
	case p.denied <- subject:
	default: // The message is sent again after a timeout, and denied again.
	}
}

// updateHold holds or releases the server's publishers. Start must have been called.
func (p *publisher) updateHold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.updateHoldLocked()
}

// updateHoldLocked holds the server's publishers while too many messages are on their way or NATS is unavailable. The
// mutex must be held.
func (p *publisher) updateHoldLocked() {
	n := len(p.queue) + p.inFlight
	limit, bytes := p.c.cfg.InFlight, p.c.cfg.InFlightBytes
	if p.held { // They are released when half of it is in the stream.
		limit, bytes = limit/2, bytes/2
	}
	hold := n > limit || p.bytes > bytes || p.c.unavailable() != nil
	if hold != p.held {
		p.held = hold
		p.c.replica.HoldPublishers(hold)
	}
}

// takeBack removes the messages of r from the queue. It returns false, and removes nothing, if one of them was sent.
func (p *publisher) takeBack(r *result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.wasSent {
		return false
	}
	p.queue = slices.DeleteFunc(p.queue, func(e *entry) bool {
		if e.result == r {
			p.bytes -= len(e.message.Payload)
		}
		return e.result == r
	})
	return true
}

// drain makes enqueue take nothing more, and waits until all messages are in the stream or ctx is done.
func (p *publisher) drain(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if !pollUntil(ctx, func() bool { return p.oldest().IsZero() }) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.c.cfg.Logger.Error("messages are lost on their way to NATS", "messages", len(p.queue)+p.inFlight)
	}
}

// oldest returns when the first message was queued that is not in the stream yet, or zero if there is none.
func (p *publisher) oldest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest time.Time
	if len(p.queue) > 0 {
		oldest = p.queue[0].queuedAt
	}
	if first := p.firstSent; first != nil && (oldest.IsZero() || first.queuedAt.Before(oldest)) {
		oldest = first.queuedAt
	}
	return oldest
}

// Settle waits until messages that were published before the call are in the stream, and all that the stream holds is
// delivered, or until ctx is done. It does not wait while NATS is unavailable.
func (c *Ordered) Settle(ctx context.Context) {
	now := time.Now()
	ok := c.unavailable() == nil && pollUntil(ctx, func() bool {
		oldest := c.publisher.oldest()
		return oldest.IsZero() || oldest.After(now)
	})
	if !ok {
		return
	}
	if seq, err := c.putMarker(ctx); err == nil {
		pollUntil(ctx, func() bool { return c.delivered.Load() >= seq })
	}
}

// pollUntil waits until condition is true. It returns false if ctx is done before.
func pollUntil(ctx context.Context, condition func() bool) bool {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
