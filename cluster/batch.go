package cluster

import "slices"

const (
	maxBatch   = 512     // Messages in a batch. NATS accepts 1000.
	batchBytes = 1 << 20 // Bytes in a batch, unless it is a single message.

	// minBatch of a stream with one replica. NATS writes a file for each batch, which takes milliseconds, and answers
	// a single message sooner.
	minBatchSingle = 64
)

// takeSendable takes the entries from the queue that may be sent now, see publisher: a batch, or a single one, or none.
func (p *publisher) takeSendable() []*entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	from, n := 0, 1
	switch batches := p.minBatch > 0 && len(p.queue) >= p.minBatch; {
	case len(p.sent) > 0 && (batches || p.sent[0].batchLen > 1):
		return nil
	case batches:
		n = p.batchLenLocked()
	default:
		from = slices.IndexFunc(p.queue, func(e *entry) bool { return !p.sending[e.channel] })
		if from < 0 {
			return nil
		}
	}
	batch := slices.Clone(p.queue[from : from+n])
	clear(p.queue[from : from+n])
	if from == 0 {
		p.queue = p.queue[n:]
	} else {
		p.queue = slices.Delete(p.queue, from, from+n)
	}
	for _, e := range batch {
		if e.result != nil {
			e.result.wasSent = true
		}
	}
	if p.inFlight += n; p.firstSent == nil || batch[0].queuedAt.Before(p.firstSent.queuedAt) {
		p.firstSent = batch[0]
	}
	return batch
}

// batchLenLocked returns how many of the first entries of the queue may be in one batch. Entries with different keys
// are in different batches: NATS rejects a batch that contains a message which the stream already holds. The mutex
// must be held.
func (p *publisher) batchLenLocked() int {
	n, bytes := 0, 0
	for n < min(maxBatch, len(p.queue)) {
		e := p.queue[n]
		if bytes += len(e.message.Payload); n > 0 && (bytes > batchBytes || e.key() != p.queue[0].key()) {
			break
		}
		n++
	}
	return n
}
