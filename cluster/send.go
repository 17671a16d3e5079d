package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// run is the publisher's goroutine.
func (p *publisher) run() {
	for {
		if !p.send() {
			return
		}
		p.tally()
		var ok <-chan *jetstream.PubAck
		var failed <-chan error
		if len(p.sent) > 0 {
			ok, failed = p.sent[0].future.Ok(), p.sent[0].future.Err()
		}
		select {
		case ack := <-ok:
			if p.sent[0].future = nil; ack.Sequence > 0 {
				p.acknowledged(ack)
			} else if !p.again(errNoPlace) {
				return
			}
		case err := <-failed:
			if p.sent[0].future = nil; never(err) && p.sent[0].batch == 1 {
				p.refused(0, err)
			} else if !p.again(err) {
				return
			}
		case subject := <-p.denials:
			if !p.denied(subject) {
				return
			}
		case <-p.wake:
		case <-p.c.ctx.Done():
			return
		}
	}
}

// tally says how much is on its way.
func (p *publisher) tally() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight, p.first = len(p.sent), nil; p.inFlight > 0 {
		p.first = p.sent[0]
	}
	p.hold()
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
		batch = slices.DeleteFunc(batch, func(e *entry) bool {
			forgotten := p.forgotten(e)
			if forgotten {
				p.lose(e, errForgotten)
			}
			return forgotten
		})
		if len(batch) == 0 {
			continue
		}
		p.sent = append(p.sent, batch...)
		switch err := p.publish(batch); {
		case err != nil && never(err) && len(batch) == 1:
			p.refused(len(p.sent)-1, err)
		case err != nil:
			if !p.again(err) {
				return false
			}
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
		e.behind, e.batch, e.future, e.ack = p.c.delivered.Load(), len(batch), nil, nil
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
	if fails(err, batchesDisabled, batchHeaderUnsupported, batchTooLarge) && p.atomic {
		p.atomic = false
		p.c.cfg.Logger.Warn("the stream takes no batches any more: messages of one publisher may change their order when it gets another leader", "err", err)
	}
	for often := time.Second; ; often = 10 * time.Second {
		if now := time.Now(); now.Sub(p.said) >= often {
			p.said = now
			p.c.cfg.Logger.Warn("the stream did not take a message: it is sent again, with those behind it", "err", err, "messages", len(p.sent))
		}
		p.wait = min(max(2*p.wait, 50*time.Millisecond), 2*time.Second)
		select {
		case <-time.After(p.wait):
		case <-p.c.ctx.Done():
			return false
		}
		if p.weigh(); !p.c.connected.Load() {
			continue
		}
		// What is still on its way would come behind what is sent now.
		if !p.settle() {
			return false
		}
		if err = p.resend(); err == nil {
			return true
		}
	}
}

// never says whether an error is of a message that the stream will not take ever, as it is too large or may not be there, and not of
// the moment. That an account is full is of the moment.
func never(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, errDenied) || errors.Is(err, errForgotten) || fails(err, messageExceedsMaximum, headerExceedsMaximum)
}

// errNoPlace: NATS 2.10 acknowledges a message twice that it is about to take, the second time without a place.
var errNoPlace = errors.New("it has no place yet")

var (
	errDenied    = errors.New("NATS lets this server publish nothing to that subject")
	errForgotten = errors.New("the stream does not know any more whether it has it, and its publisher knows that it may not")
)

// denied takes out what was sent to a subject that NATS lets nobody here publish to: to that there is no other answer. A batch is
// answered that it is not whole, unless it is without its last one. It says no if the end has come.
func (p *publisher) denied(subject string) bool {
	for i := len(p.sent) - 1; i >= 0; i-- {
		e := p.sent[i]
		if p.c.subject(e.channel) != subject {
			continue
		}
		if e.batch == 1 {
			p.refused(i, errDenied)
		} else if i == len(p.sent)-1 { // There is no other batch.
			p.sent[0].future = nil
			return p.again(errDenied)
		}
	}
	return true
}

// forgotten says whether a message may be in the stream, which does not know its id any more, while its publisher has been told that
// it may not: if it has tried again, with its key, that was another message.
func (p *publisher) forgotten(e *entry) bool {
	return e.result != nil && e.result.gone.Load() && time.Since(e.at) > p.c.remembers-2*p.c.cfg.Timeout
}

// Codes of JetStream's errors.
const (
	messageExceedsMaximum  jetstream.ErrorCode = 10054
	headerExceedsMaximum   jetstream.ErrorCode = 10097
	batchesDisabled        jetstream.ErrorCode = 10174
	batchHeaderUnsupported jetstream.ErrorCode = 10177 // Of NATS 2.12.0, for messages with ids.
	batchTooLarge          jetstream.ErrorCode = 10199
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
	p.lose(e, err)
}

// lose says that a message is not published.
func (p *publisher) lose(e *entry, err error) {
	p.lost.Add(1)
	if p.saidLost.due() {
		p.c.cfg.Logger.Error("a message is lost: the stream does not take it", "err", err, "subject", p.c.subject(e.channel), "bytes", len(e.m.Payload), "lost", p.lost.Load())
	}
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

// settle waits until nothing of what was sent is on its way any more, which is Config.Timeout at the most: each future says once
// how it ended. It says no if the end has
// come.
func (p *publisher) settle() bool {
	for _, e := range p.sent {
		if e.future == nil {
			continue
		}
		select {
		case e.ack = <-e.future.Ok():
		case <-e.future.Err():
		case <-p.c.ctx.Done():
			return false
		}
		e.future = nil
	}
	return true
}

// resend sends all again that have no place, one after the other, so that they keep their order whatever happens now. What NATS
// takes no more, as it takes less than it did, is lost.
func (p *publisher) resend() error {
	for len(p.sent) > 0 {
		e := p.sent[0]
		if e.ack != nil && e.ack.Sequence > 0 { // It had its place all the time.
			p.acknowledged(e.ack)
			continue
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
	if p.forgotten(e) {
		return nil, errForgotten
	}
	if err := p.publish([]*entry{e}); err != nil {
		return nil, err
	}
	defer func() { e.future = nil }()
	for {
		select {
		case ack := <-e.future.Ok():
			if ack.Sequence == 0 {
				return nil, errNoPlace
			}
			return ack, nil
		case err := <-e.future.Err():
			return nil, err
		case subject := <-p.denials:
			if subject == p.c.subject(e.channel) {
				return nil, errDenied
			}
		case <-p.c.ctx.Done():
			return nil, p.c.ctx.Err()
		}
	}
}
