package cluster

import "time"

// OrderedStats are the figures of an Ordered. Counts are since OpenOrdered.
type OrderedStats struct {
	// Published is how many messages of this server the stream has accepted, and PublishTime the sum of the times from
	// when each was queued until then. Resent is how often a message was sent again because the stream had not
	// accepted it, and Lost how many messages NATS rejected: they are too large, or their subject is denied.
	Published, Resent, Lost uint64
	PublishTime             time.Duration

	// Waiting is how many messages are queued or on their way, Bytes the size of their payloads, and Oldest how long
	// the first of them has waited.
	Waiting, Bytes int
	Oldest         time.Duration

	// Delivered is the sequence number of the last message that this server has read; with Config.Channels, among the
	// channels that it reads. Pending is how many more messages NATS had for it at that time. LeftOut is how many could
	// not be delivered, and Rereads how often the reader was restarted after an error.
	Delivered, Pending, LeftOut, Rereads uint64

	// Channels is how many channels this server reads; -1 stands for all.
	Channels int
}

// Stats returns the current figures. It does not wait for NATS.
func (c *Ordered) Stats() OrderedStats {
	p := &c.publisher
	st := OrderedStats{
		Published: p.published.Load(), Resent: p.resent.Load(), Lost: p.lost.Load(),
		PublishTime: time.Duration(p.publishTime.Load()),
		Delivered:   c.delivered.Load(), Pending: c.pending.Load(), LeftOut: c.skipped.Load(), Rereads: c.rereads.Load(),
		Channels: c.Following(),
	}
	if oldest := p.oldest(); !oldest.IsZero() {
		st.Oldest = time.Since(oldest)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st.Waiting, st.Bytes = len(p.queue)+p.inFlight, p.bytes
	return st
}
