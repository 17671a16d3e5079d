package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// publisher puts messages into the stream, in the order in which they came: many on their way at a time, and
// when one is not taken, all that are behind it again. Each has an id, by which the stream knows those that it has.
type publisher struct {
	c      *Cluster
	prefix string // Of the ids of this process' messages, and in its marker.

	wake bell

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
	sent []*entry      // Sent and not acknowledged, in their order.
	wait time.Duration // Before what failed is sent again.
	said time.Time     // When it was logged last that it is.
}

// entry is a message on its way. There may be very many of a batch that wait: what NATS wants is made when it is sent.
type entry struct {
	channel string
	m       broadcast.Message
	number  uint64 // In its id for the stream, unless result has one.
	at      time.Time

	future jetstream.PubAckFuture
	behind uint64  // Where the reader was when it was sent.
	result *result // nil if nobody waits for it.
	index  int     // In result.
}

// result is what becomes of messages that somebody waits for.
type result struct {
	ids  []uint64
	once string // The messages' ids for the stream begin with this; empty if there is no such key.
	left int    // Owned by run: how many have none.
	err  error
	done chan struct{} // Closed when ids are there, or err.

	begun bool // Guarded by publisher.mu: one of them was sent.
}

func (p *publisher) init(c *Cluster) {
	p.c, p.prefix, p.wake = c, nuid.Next()+"-", newBell()
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
	if err := c.Ready(); err != nil && !c.connected.Load() {
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

// look has run look at what there is to do. It does not block.
func (p *publisher) look() {
	p.wake.ring()
}

// hold stops the server's reading of publishers while there is too much, or NATS is not there. The mutex must be
// held.
func (p *publisher) hold() {
	n := len(p.waiting) + p.inFlight
	limit, bytes := p.c.cfg.InFlight, p.c.cfg.InFlightBytes
	if p.held { // It goes on when half of it is through.
		limit, bytes = limit/2, bytes/2
	}
	if hold := n > limit || p.bytes > bytes || !p.c.connected.Load(); hold != p.held {
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

// run is the publisher's goroutine.
func (p *publisher) run() {
	for {
		if !p.send() {
			return
		}
		var ok <-chan *jetstream.PubAck
		var failed <-chan error
		if len(p.sent) > 0 {
			ok, failed = p.sent[0].future.Ok(), p.sent[0].future.Err()
		}
		select {
		case ack := <-ok:
			p.acknowledged(ack)
		case err := <-failed:
			if never(err) {
				p.refused(0, err)
			} else if !p.again(err) {
				return
			}
		case <-p.wake:
		case <-p.c.ctx.Done():
			return
		}
		p.mu.Lock()
		if p.inFlight, p.first = len(p.sent), nil; p.inFlight > 0 {
			p.first = p.sent[0]
		}
		p.hold()
		p.mu.Unlock()
	}
}

// send sends what waits, as much as may be in flight. It says no if the end has come.
func (p *publisher) send() bool {
	for len(p.sent) < p.c.cfg.InFlight && p.c.connected.Load() {
		e := p.next()
		if e == nil {
			return true
		}
		p.sent = append(p.sent, e)
		switch err := p.publish(e); {
		case err != nil && never(err):
			p.refused(len(p.sent)-1, err)
		case err != nil:
			return p.again(err)
		}
	}
	return true
}

// next takes the first one that waits.
func (p *publisher) next() *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return nil
	}
	e := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	if p.inFlight++; p.first == nil {
		p.first = e
	}
	if e.result != nil {
		e.result.begun = true
	}
	return e
}

func (p *publisher) publish(e *entry) (err error) {
	msg := nats.NewMsg(p.c.subject(e.channel))
	msg.Data = e.m.Payload
	id := p.prefix + strconv.FormatUint(e.number, 36)
	if r := e.result; r != nil && r.once != "" {
		id = r.once + strconv.Itoa(e.index)
	}
	msg.Header.Set(jetstream.MsgIDHeader, id)
	if e.m.Kind == broadcast.Binary {
		msg.Header.Set(kindHeader, "binary")
	}
	e.behind = p.c.delivered.Load()
	e.future, err = p.c.js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0))
	return err
}

// acknowledged takes the first one out that was sent: it has its place.
func (p *publisher) acknowledged(ack *jetstream.PubAck) {
	e := p.sent[0]
	if !ack.Duplicate {
		p.c.placed(ack.Sequence, e.behind)
	}
	p.wait = 0
	p.sent[0] = nil
	p.sent = p.sent[1:]
	p.published.Add(1)
	p.took.Add(int64(time.Since(e.at)))
	p.done(e)
	if r := e.result; r != nil {
		r.ids[e.index] = ack.Sequence
		if r.left--; r.left == 0 && r.err == nil {
			close(r.done)
		}
	}
}

// again sends all again that were sent and not acknowledged: the stream knows those that it has by their ids. If NATS
// is gone, that is when it is back. It says no if the end has come.
func (p *publisher) again(err error) bool {
	if now := time.Now(); now.Sub(p.said) >= time.Second {
		p.said = now
		p.c.cfg.Logger.Warn("the stream did not take a message: it is sent again, with those behind it", "err", err, "messages", len(p.sent))
	}
	for {
		p.wait = min(max(2*p.wait, 50*time.Millisecond), 2*time.Second)
		select {
		case <-time.After(p.wait):
		case <-p.c.ctx.Done():
			return false
		}
		if !p.c.connected.Load() {
			continue
		}
		// What is still on its way would come behind what is sent now.
		if err := p.settle(); err == nil && p.resend() == nil {
			return true
		}
	}
}

// never says whether an error is of a message that the stream will not take ever, as it is too large, and not of the moment.
// That an account is full is of the moment.
func never(err error) bool {
	const messageExceedsMaximum, headerExceedsMaximum = 10054, 10097
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) ||
		errors.As(err, &api) && (api.ErrorCode == messageExceedsMaximum || api.ErrorCode == headerExceedsMaximum)
}

// refused takes out the one at a place that was sent: the stream does not take it.
func (p *publisher) refused(i int, err error) {
	e := p.sent[i]
	p.sent = slices.Delete(p.sent, i, i+1)
	p.lost.Add(1)
	p.c.cfg.Logger.Error("a message is lost: the stream does not take it", "err", err, "subject", p.c.subject(e.channel), "bytes", len(e.m.Payload))
	p.done(e)
	if r := e.result; r != nil && r.err == nil {
		r.err = fmt.Errorf("cluster: the stream does not take it: %w", err)
		close(r.done)
	}
}

// done counts a message that is not on its way any more.
func (p *publisher) done(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= len(e.m.Payload)
}

// settle waits until nothing is on its way any more.
func (p *publisher) settle() error {
	select {
	case <-p.c.js.PublishAsyncComplete():
		return nil
	case <-p.c.ctx.Done():
		return p.c.ctx.Err()
	}
}

// resend sends all again that have no place. What NATS takes no more, as it takes less than it did, is lost.
func (p *publisher) resend() error {
	for i := 0; i < len(p.sent); {
		e := p.sent[i]
		if e.future != nil {
			select {
			case ack := <-e.future.Ok(): // It had its place all the time.
				e.future = known{ack}
			default:
			}
		}
		if _, ok := e.future.(known); ok {
			i++
			continue
		}
		switch err := p.publish(e); {
		case err == nil:
			p.resent.Add(1)
			i++
		case never(err):
			p.refused(i, err)
		default:
			return err
		}
	}
	return nil
}

// known is the future of what was acknowledged.
type known struct{ ack *jetstream.PubAck }

func (k known) Ok() <-chan *jetstream.PubAck {
	c := make(chan *jetstream.PubAck, 1)
	c <- k.ack
	return c
}
func (k known) Err() <-chan error { return nil }
func (k known) Msg() *nats.Msg    { return nil }

// drain takes nothing more, and waits until all is in the stream, or ctx is done.
func (p *publisher) drain(ctx context.Context) {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		p.mu.Lock()
		left := len(p.waiting) + p.inFlight
		p.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			p.c.cfg.Logger.Error("messages are lost that were on their way to NATS", "messages", left)
			return
		}
	}
}
