package cluster

import "time"

// Stats is what a Cluster does, and has done since it was opened.
type Stats struct {
	// Published is how many messages of this server have their place in the stream, and PublishTime how long that took, all
	// together: each from when it was taken. Resent is how often one was sent again, as the stream had not answered, and Lost
	// how many NATS does not take, as they are larger than it takes, or to a subject that is denied.
	Published, Resent, Lost uint64
	PublishTime             time.Duration

	// Waiting is how many messages have no place yet, Bytes that of their payloads, and Oldest how long the first of them
	// has waited.
	Waiting, Bytes int
	Oldest         time.Duration

	// Delivered is the place of the last message of the stream that came here: with Config.Channels, of those that this
	// server reads. Pending is how many more NATS had for it then. LeftOut is how many could not be delivered, and Rereads how often
	// reading began anew because something was wrong.
	Delivered, Pending, LeftOut, Rereads uint64

	// Channels is how many channels are read one by one; a negative number stands for all.
	Channels int
}

// Stats says how it goes. It does not wait for NATS.
func (c *Cluster) Stats() Stats {
	p := &c.out
	st := Stats{
		Published: p.published.Load(), Resent: p.resent.Load(), Lost: p.lost.Load(), PublishTime: time.Duration(p.took.Load()),
		Delivered: c.delivered.Load(), Pending: c.pending.Load(), LeftOut: c.lacks.Load(), Rereads: c.rereads.Load(),
		Channels: c.Following(),
	}
	if oldest := p.oldest(); !oldest.IsZero() {
		st.Oldest = time.Since(oldest)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st.Waiting, st.Bytes = len(p.waiting)+p.inFlight, p.bytes
	return st
}
