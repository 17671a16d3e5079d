package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// run is the goroutine of the publisher: it sends what is queued and waits for acknowledgements, until the Ordered is
// closed.
func (p *publisher) run() {
	for {
		if !p.sendQueued() {
			return
		}
		p.publishCounts()
		var ok <-chan *jetstream.PubAck
		var failed <-chan error
		if len(p.sent) > 0 {
			ok, failed = p.sent[0].future.Ok(), p.sent[0].future.Err()
		}
		select {
		case ack := <-ok:
			if p.sent[0].future = nil; ack.Sequence > 0 {
				p.acknowledge(ack)
			} else if !p.retry(errNoSequence) {
				return
			}
		case err := <-failed:
			if p.sent[0].future = nil; isPermanent(err) && p.sent[0].batchLen == 1 {
				p.rejectSent(0, err)
			} else if !p.retry(err) {
				return
			}
		case subject := <-p.denied:
			if !p.rejectDenied(subject) {
				return
			}
		case <-p.wake:
		case <-p.c.ctx.Done():
			return
		}
	}
}

// publishCounts copies to the fields guarded by mu what other goroutines need to know of sent.
func (p *publisher) publishCounts() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight, p.firstSent = len(p.sent), nil; p.inFlight > 0 {
		p.firstSent = slices.MinFunc(p.sent, func(a, b *entry) int { return a.queuedAt.Compare(b.queuedAt) })
	}
	p.updateHoldLocked()
}

// sendQueued sends as much of the queue as may be in flight. It returns false if the Ordered is closed.
func (p *publisher) sendQueued() bool {
	for len(p.sent) < p.c.cfg.InFlight && p.c.connected.Load() {
		batch := p.takeSendable()
		if len(batch) == 0 {
			return true
		}
		batch = slices.DeleteFunc(batch, func(e *entry) bool {
			expired := p.idExpired(e)
			if expired {
				p.drop(e, errIDExpired)
			}
			return expired
		})
		if len(batch) == 0 {
			continue
		}
		p.sent = append(p.sent, batch...)
		for _, e := range batch {
			p.sending[e.channel] = true
		}
		switch err := p.sendBatch(batch); {
		case err != nil && isPermanent(err) && len(batch) == 1:
			p.rejectSent(len(p.sent)-1, err)
		case err != nil:
			if !p.retry(err) {
				return false
			}
		}
	}
	return true
}

// sendBatch sends entries to the stream, as a batch if there are several. The future of the batch is in its first
// entry. ADR-50 of NATS defines the headers Nats-Batch-*.
func (p *publisher) sendBatch(batch []*entry) (err error) {
	id := ""
	if len(batch) > 1 {
		id = rand.Text()
	}
	for i, e := range batch {
		e.readerAt, e.batchLen, e.future, e.ack = p.c.delivered.Load(), len(batch), nil, nil
		msg := p.newMsg(e)
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

// newMsg returns the NATS message of an entry, which shares its payload.
func (p *publisher) newMsg(e *entry) *nats.Msg {
	msg := nats.NewMsg(p.c.subject(e.channel))
	msg.Data = e.message.Payload
	id := p.idPrefix + strconv.FormatUint(e.number, 36)
	if key := e.key(); key != "" {
		id = key + strconv.Itoa(e.index)
	}
	msg.Header.Set(jetstream.MsgIDHeader, id)
	if e.message.Kind == broadcast.Binary {
		msg.Header.Set(kindHeader, "binary")
	}
	return msg
}

// acknowledge removes the first batch from sent. The sequence numbers of a batch are consecutive, and ack has the last.
func (p *publisher) acknowledge(ack *jetstream.PubAck) {
	n := p.sent[0].batchLen
	for i, e := range p.sent[:n] {
		delete(p.sending, e.channel)
		seq := ack.Sequence - uint64(n-1-i)
		if !ack.Duplicate {
			p.c.checkSeq(seq, e.readerAt)
		}
		p.published.Add(1)
		p.publishTime.Add(int64(time.Since(e.queuedAt)))
		p.releaseBytes(e)
		if r := e.result; r != nil {
			r.ids[e.index] = seq
			if r.remaining--; r.remaining == 0 && r.err == nil {
				close(r.done)
			}
		}
	}
	p.retryDelay = 0
	clear(p.sent[:n])
	p.sent = p.sent[n:]
}

// retry sends all of sent again, after a delay and when NATS is connected. The stream recognizes those that it holds by
// their message IDs. It returns false if the Ordered is closed.
func (p *publisher) retry(err error) bool {
	if hasCode(err, batchContainsDuplicate) && p.resendEach() == nil { // Sent alone, the answer has the sequence number.
		return true
	}
	if hasCode(err, batchesDisabled, batchHeaderUnsupported, batchTooLarge) && p.minBatch > 0 {
		p.minBatch = 0
		p.c.cfg.Logger.Warn("the stream no longer accepts batches: "+publishesSlowly, "err", err)
	}
	for interval := time.Second; ; interval = 10 * time.Second {
		if now := time.Now(); now.Sub(p.retryLoggedAt) >= interval {
			p.retryLoggedAt = now
			p.c.cfg.Logger.Warn("the stream did not accept a message: sending it and the later ones again",
				"err", err, "messages", len(p.sent))
		}
		p.retryDelay = min(max(2*p.retryDelay, 50*time.Millisecond), 2*time.Second)
		select {
		case <-time.After(p.retryDelay):
		case <-p.c.ctx.Done():
			return false
		}
		if p.updateHold(); !p.c.connected.Load() {
			continue
		}
		// A message that is still on its way would arrive after those that are sent now.
		if !p.awaitFutures() {
			return false
		}
		if err = p.resendEach(); err == nil {
			return true
		}
	}
}

// isPermanent reports whether the stream will never accept the message: it is too large, or its subject is denied. A
// full account is not permanent.
func isPermanent(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, errDenied) || errors.Is(err, errIDExpired) ||
		hasCode(err, messageExceedsMaximum, headerExceedsMaximum)
}

var (
	// errNoSequence: NATS 2.10 acknowledges a duplicate of a message that it is still storing without a sequence
	// number.
	errNoSequence = errors.New("NATS is still storing the message")
	errDenied     = errors.New("NATS permissions do not let this server publish to that subject")
	errIDExpired  = errors.New("the stream may hold it without knowing its ID, and the outcome was reported as unknown")
)

// rejectDenied rejects the sent messages whose subject NATS denies, because NATS does not answer them. In a batch, NATS
// answers the last message with an error that an earlier one is missing; only a denied last message stays unanswered,
// and makes rejectDenied retry the batch. rejectDenied returns false if the Ordered is closed.
func (p *publisher) rejectDenied(subject string) bool {
	for i := len(p.sent) - 1; i >= 0; i-- {
		e := p.sent[i]
		if p.c.subject(e.channel) != subject {
			continue
		}
		if e.batchLen == 1 {
			p.rejectSent(i, errDenied)
		} else if i == len(p.sent)-1 { // sent is a single batch.
			p.sent[0].future = nil
			return p.retry(errDenied)
		}
	}
	return true
}

// idExpired reports whether the stream may hold e without recognizing its ID any more, while the publisher was told
// that the outcome is unknown. If the publisher has tried again with its key, sending e now would publish it twice.
func (p *publisher) idExpired(e *entry) bool {
	return e.result != nil && e.result.abandoned.Load() && time.Since(e.queuedAt) > p.c.dedupWindow-2*p.c.cfg.Timeout
}

// Error codes of JetStream, from errors.json of nats-server.
const (
	messageExceedsMaximum  jetstream.ErrorCode = 10054
	headerExceedsMaximum   jetstream.ErrorCode = 10097
	batchesDisabled        jetstream.ErrorCode = 10174
	batchHeaderUnsupported jetstream.ErrorCode = 10177 // NATS 2.12.0 returns it for messages with IDs.
	batchTooLarge          jetstream.ErrorCode = 10199
	batchContainsDuplicate jetstream.ErrorCode = 10201
)

// hasCode reports whether err is an error of JetStream with one of these codes.
func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}

// rejectSent removes the entry at index i from sent: the stream does not accept it.
func (p *publisher) rejectSent(i int, err error) {
	e := p.sent[i]
	p.sent = slices.Delete(p.sent, i, i+1)
	delete(p.sending, e.channel)
	p.drop(e, err)
}

// drop counts and logs a message that will not be published, and tells its publisher.
func (p *publisher) drop(e *entry, err error) {
	p.lost.Add(1)
	if p.lostLog.allow() {
		p.c.cfg.Logger.Error("lost a message: the stream does not accept it", "err", err,
			"subject", p.c.subject(e.channel), "bytes", len(e.message.Payload), "lost", p.lost.Load())
	}
	p.releaseBytes(e)
	if r := e.result; r != nil && r.err == nil {
		r.err = fmt.Errorf("cluster: the stream does not accept the message: %w", err)
		close(r.done)
	}
}

// releaseBytes subtracts a message that is no longer on its way.
func (p *publisher) releaseBytes(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= len(e.message.Payload)
}

// awaitFutures waits until no message is on its way any more, at most Config.Timeout: each future resolves once. It
// returns false if the Ordered is closed.
func (p *publisher) awaitFutures() bool {
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

// resendEach sends the messages of sent that have no sequence number one after the other, so that they keep their order
// whatever happens. A message that NATS no longer accepts, because its limits were lowered, is lost.
func (p *publisher) resendEach() error {
	for len(p.sent) > 0 {
		e := p.sent[0]
		if e.ack != nil && e.ack.Sequence > 0 { // Its acknowledgement came late.
			p.acknowledge(e.ack)
			continue
		}
		p.resent.Add(1)
		ack, err := p.sendAndWait(e)
		switch {
		case err == nil:
			p.acknowledge(ack)
		case isPermanent(err):
			p.rejectSent(0, err)
		default:
			return err
		}
	}
	return nil
}

// sendAndWait sends one message, and waits for the answer.
func (p *publisher) sendAndWait(e *entry) (*jetstream.PubAck, error) {
	if p.idExpired(e) {
		return nil, errIDExpired
	}
	if err := p.sendBatch([]*entry{e}); err != nil {
		return nil, err
	}
	defer func() { e.future = nil }()
	for {
		select {
		case ack := <-e.future.Ok():
			if ack.Sequence == 0 {
				return nil, errNoSequence
			}
			return ack, nil
		case err := <-e.future.Err():
			return nil, err
		case subject := <-p.denied:
			if subject == p.c.subject(e.channel) {
				return nil, errDenied
			}
		case <-p.c.ctx.Done():
			return nil, p.c.ctx.Err()
		}
	}
}
