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
//
// A stream of several servers may lose some and take what is behind them, when it gets another leader. So there only so many are on
// their way as it takes together or not at all (an atomic batch), if it does that.
type publisher struct {
	c      *Cluster
	prefix string // Of the ids of this process' messages, and in its marker.
	atomic bool   // The stream takes batches. Immutable after Open.

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

	future jetstream.PubAckFuture // That of its batch; nil behind the first of that.
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
			if never(err) && p.sent[0].batch == 1 {
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

// maxBatch is how many messages are in a batch at the most, and batchBytes how much, unless it is one message. NATS takes 1000.
const (
	maxBatch   = 256
	batchBytes = 1 << 20
)

// send sends what waits, as much as may be in flight. It says no if the end has come.
func (p *publisher) send() bool {
	for len(p.sent) < p.c.cfg.InFlight && p.c.connected.Load() {
		most := 1
		if p.atomic {
			if len(p.sent) > 0 {
				return true
			}
			most = maxBatch
		}
		batch := p.next(most)
		if len(batch) == 0 {
			return true
		}
		p.sent = append(p.sent, batch...)
		switch err := p.publish(batch); {
		case err != nil && never(err) && len(batch) == 1:
			p.refused(len(p.sent)-1, err)
		case err != nil:
			return p.again(err)
		}
	}
	return true
}

// next takes the first ones that wait, at most so many. Those with a key are by themselves: the stream refuses a batch with a
// message that it has.
func (p *publisher) next(most int) []*entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, bytes := 0, 0
	for n < min(most, len(p.waiting)) {
		e := p.waiting[n]
		if bytes += len(e.m.Payload); n > 0 && (bytes > batchBytes || e.key() != p.waiting[0].key()) {
			break
		}
		if e.result != nil {
			e.result.begun = true
		}
		n++
	}
	batch := slices.Clone(p.waiting[:n])
	clear(p.waiting[:n])
	p.waiting = p.waiting[n:]
	if p.inFlight += n; n > 0 && p.first == nil {
		p.first = batch[0]
	}
	return batch
}

// publish sends messages to the stream, more than one as a batch: the first one has the future of all. NATS' header Nats-Batch-Id is
// that of ADR-50.
func (p *publisher) publish(batch []*entry) (err error) {
	id := nuid.Next()
	for i, e := range batch {
		e.behind, e.batch, e.future = p.c.delivered.Load(), len(batch), nil
		msg := p.message(e)
		if len(batch) > 1 {
			msg.Header.Set("Nats-Batch-Id", id)
			msg.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		}
		if i < len(batch)-1 {
			if err := p.c.nc.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		if len(batch) > 1 {
			msg.Header.Set("Nats-Batch-Commit", "1")
		}
		batch[0].future, err = p.c.js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0))
	}
	return err
}

// message is what NATS gets of an entry.
func (p *publisher) message(e *entry) *nats.Msg {
	msg := nats.NewMsg(p.c.subject(e.channel))
	msg.Data = e.m.Payload
	id := p.prefix + strconv.FormatUint(e.number, 36)
	if key := e.key(); key != "" {
		id = key + strconv.Itoa(e.index)
	}
	msg.Header.Set(jetstream.MsgIDHeader, id)
	if e.m.Kind == broadcast.Binary {
		msg.Header.Set(kindHeader, "binary")
	}
	return msg
}

// acknowledged takes out the first one that was sent, with all of its batch: they have their places, one behind the other, and
// the last one that of the acknowledgement.
func (p *publisher) acknowledged(ack *jetstream.PubAck) {
	n := p.sent[0].batch
	for i, e := range p.sent[:n] {
		place := ack.Sequence - uint64(n-1-i)
		if !ack.Duplicate {
			p.c.placed(place, e.behind)
		}
		p.published.Add(1)
		p.took.Add(int64(time.Since(e.at)))
		p.done(e)
		if r := e.result; r != nil {
			r.ids[e.index] = place
			if r.left--; r.left == 0 && r.err == nil {
				close(r.done)
			}
		}
	}
	p.wait = 0
	clear(p.sent[:n])
	p.sent = p.sent[n:]
}

// again sends all again that were sent and not acknowledged: the stream knows those that it has by their ids. If NATS
// is gone, that is when it is back. It says no if the end has come.
func (p *publisher) again(err error) bool {
	if fails(err, batchContainsDuplicate) && p.resend() == nil { // One by one it says where they are.
		return true
	}
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
	return errors.Is(err, nats.ErrMaxPayload) || fails(err, messageExceedsMaximum, headerExceedsMaximum)
}

// Codes of JetStream's errors.
const (
	messageExceedsMaximum  jetstream.ErrorCode = 10054
	headerExceedsMaximum   jetstream.ErrorCode = 10097
	batchContainsDuplicate jetstream.ErrorCode = 10201
)

// fails says whether an error is one of JetStream's with one of these codes.
func fails(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
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

// resend sends all again that have no place, one after the other, so that they keep their order whatever happens now. What NATS
// takes no more, as it takes less than it did, is lost.
func (p *publisher) resend() error {
	for len(p.sent) > 0 {
		e := p.sent[0]
		if e.future != nil {
			select {
			case ack := <-e.future.Ok(): // It had its place all the time.
				p.acknowledged(ack)
				continue
			default:
			}
		}
		p.resent.Add(1)
		ack, err := p.publishOne(e)
		switch {
		case err == nil:
			p.acknowledged(ack)
		case never(err):
			p.refused(0, err)
		default:
			return err
		}
	}
	return nil
}

// publishOne sends a message, and waits for the answer.
func (p *publisher) publishOne(e *entry) (*jetstream.PubAck, error) {
	if err := p.publish([]*entry{e}); err != nil {
		return nil, err
	}
	select {
	case ack := <-e.future.Ok():
		return ack, nil
	case err := <-e.future.Err():
		return nil, err
	case <-p.c.ctx.Done():
		return nil, p.c.ctx.Err()
	}
}

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
