package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// publisher puts messages into the stream, in the order in which they came: many on their way at a time, and
// when one is not taken, all that are behind it again. Each has an id, by which the stream knows those that it has.
//
// A stream of several servers may lose some and take what is behind them, when it gets another leader. So there only so many are on
// their way as it takes together or not at all (an atomic batch), if it does that.
type publisher struct {
	c      *Cluster
	prefix string // Of the ids of this process' messages, and in its marker.

	wake    bell
	denials chan string // Subjects that NATS has not let this server publish to.

	mu       sync.Mutex
	waiting  []*entry // Guarded by mu: not sent yet.
	inFlight int      // Guarded by mu: the length of sent.
	bytes    int      // Guarded by mu: of waiting and sent.
	number   uint64   // Guarded by mu.
	first    *entry   // Guarded by mu: the first of sent, or nil.
	held     bool     // Guarded by mu: publishers are.
	ended    bool     // Guarded by mu: nothing more is taken.

	// Atomic: written by run.
	published, resent, lost atomic.Uint64
	took                    atomic.Int64 // In ns, published all together.

	// Owned by run.
	sent   []*entry      // Sent and not acknowledged, in their order.
	atomic bool          // The stream takes batches. Set by Open.
	wait   time.Duration // Before what failed is sent again.
	said   time.Time     // When it was logged last that it is.

	saidLost seldom
}

// entry is a message on its way. There may be very many of a batch that wait: what NATS wants is made when it is sent.
type entry struct {
	channel string
	m       broadcast.Message
	number  uint64 // In its id for the stream, unless result has one.
	at      time.Time

	future jetstream.PubAckFuture // That of its batch; nil behind the first of that, and when it has come to an end.
	ack    *jetstream.PubAck      // That of its batch, which has come late.
	batch  int                    // How many are in its batch.
	behind uint64                 // Where the reader was when it was sent.
	result *result                // nil if nobody waits for it.
	index  int                    // In result.
}

// key is what the message's id for the stream begins with, if its publisher has chosen that.
func (e *entry) key() string {
	if e.result == nil {
		return ""
	}
	return e.result.once
}

// result is what becomes of messages that somebody waits for.
type result struct {
	ids  []uint64
	once string // The messages' ids for the stream begin with this; empty if there is no such key.
	left int    // Owned by run: how many have none.
	err  error
	done chan struct{} // Closed when ids are there, or err.

	begun bool        // Guarded by publisher.mu: one of them was sent.
	gone  atomic.Bool // Who waited was told that they may be published or not.
}

func (p *publisher) init(c *Cluster) {
	p.c, p.prefix, p.wake, p.denials = c, nuid.Next()+"-", newBell(), make(chan string, 16)
}

// Submit is broadcast.Order's.
func (c *Cluster) Submit(channel string, m broadcast.Message) {
	_ = c.out.add(nil, broadcast.Addressed{Channel: channel, Message: m}) // At the end there is nobody to be told.
}

// Ahead is broadcast.Order's. A marker says how far the reader is.
func (c *Cluster) Ahead() { c.ahead.ring() }

// Publish is broadcast.Order's. An error is or wraps broadcast.ErrUnavailable.
func (c *Cluster) Publish(ctx context.Context, messages []broadcast.Addressed) ([]uint64, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	r := &result{ids: make([]uint64, len(messages)), left: len(messages), done: make(chan struct{})}
	if err := c.away(); err != nil {
		return nil, fmt.Errorf("%w: %w: nothing was published", broadcast.ErrUnavailable, err)
	}
	if key, ok := broadcast.OnceOf(ctx); ok {
		r.once = base64.RawURLEncoding.EncodeToString(key[:]) + "-"
	}
	if err := c.out.add(r, messages...); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.ids, r.err
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	if c.out.cancel(r) {
		return nil, fmt.Errorf("%w: the stream takes nothing at the moment: nothing was published", broadcast.ErrUnavailable)
	}
	select {
	case <-r.done: // Meanwhile.
		return r.ids, r.err
	default:
		r.gone.Store(true)
		return nil, fmt.Errorf("%w: the stream did not answer in time: it may be published or not", broadcast.ErrUnavailable)
	}
}

// add takes messages, whose payloads it copies. Those that somebody waits for it does not take if there are too many
// already; connections are held in time.
func (p *publisher) add(r *result, messages ...broadcast.Addressed) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return broadcast.ErrServerClosed
	}
	if r != nil && p.bytes > p.c.cfg.InFlightBytes {
		return fmt.Errorf("%w: the stream is behind: nothing was published", broadcast.ErrUnavailable)
	}
	now := time.Now()
	for i, m := range messages {
		p.number++
		m.Payload = slices.Clone(m.Payload)
		p.waiting = append(p.waiting, &entry{channel: m.Channel, m: m.Message, number: p.number, at: now, result: r, index: i})
		p.bytes += len(m.Payload)
	}
	p.hold()
	p.look()
	return nil
}

// deny is told what NATS has not let this server publish to. It does not block.
func (p *publisher) deny(subject string) {
	select {
	case p.denials <- subject:
	default: // It is sent again, and denied again.
	}
}

// look has run look at what there is to do. It does not block.
func (p *publisher) look() {
	p.wake.ring()
}

// weigh looks whether publishers are to be held. Start must have been called.
func (p *publisher) weigh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold()
}

// hold stops the server's reading of publishers while there is too much, or NATS is not there or takes nothing. The mutex
// must be held.
func (p *publisher) hold() {
	n := len(p.waiting) + p.inFlight
	limit, bytes := p.c.cfg.InFlight, p.c.cfg.InFlightBytes
	if p.held { // It goes on when half of it is through.
		limit, bytes = limit/2, bytes/2
	}
	if hold := n > limit || p.bytes > bytes || !p.c.connected.Load() || p.c.silent.Load(); hold != p.held {
		p.held = hold
		p.c.srv.HoldPublishers(hold)
	}
}

// cancel takes messages back, and says whether none of them was sent.
func (p *publisher) cancel(r *result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.begun {
		return false
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(e *entry) bool {
		if e.result == r {
			p.bytes -= len(e.m.Payload)
		}
		return e.result == r
	})
	return true
}

// drain takes nothing more, and waits until all is in the stream, or ctx is done.
func (p *publisher) drain(ctx context.Context) {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	if !until(ctx, func() bool { return p.oldest().IsZero() }) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.c.cfg.Logger.Error("messages are lost that were on their way to NATS", "messages", len(p.waiting)+p.inFlight)
	}
}

// oldest is when the first message was taken that has no place yet; zero if there is none.
func (p *publisher) oldest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.first != nil:
		return p.first.at
	case len(p.waiting) > 0:
		return p.waiting[0].at
	}
	return time.Time{}
}

// Settle waits until what was taken from publishers before is in the stream, and all that is there now was delivered, or ctx is
// done. It does not wait for a NATS that does not answer.
func (c *Cluster) Settle(ctx context.Context) {
	now := time.Now()
	ok := c.connected.Load() && !c.silent.Load() && until(ctx, func() bool {
		oldest := c.out.oldest()
		return oldest.IsZero() || oldest.After(now)
	})
	if !ok {
		return
	}
	if place, err := c.mark(ctx); err == nil {
		until(ctx, func() bool { return c.delivered.Load() >= place })
	}
}

// until waits until something is so, and says no if ctx is done before.
func until(ctx context.Context, so func() bool) bool {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
