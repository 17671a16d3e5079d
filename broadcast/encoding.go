package broadcast

import "github.com/crier-ws/crier/broadcast/framelog"

// encoding is a channel's messages in one form: a log of their own, and who reads it.
type encoding struct {
	// Immutable after init.
	channel *channel
	form    *form
	log     framelog.Log

	next  *encoding // Guarded by channel.mu: the channel's others.
	feeds *feed     // Guarded by channel.mu: a list, one for each shard that has readers.
}

// feedFor returns a shard's feed of e, made if need be. The channel's mutex must be held.
func (e *encoding) feedFor(s *shard) *feed {
	for f := e.feeds; f != nil; f = f.next {
		if f.shard == s {
			return f
		}
	}
	f := &feed{shard: s, encoding: e, next: e.feeds, offered: e.log.Head()}
	e.feeds = f
	e.updateOffered()
	return f
}

// removeFeed takes out a feed that has no connection any more. The channel's mutex must be held.
func (e *encoding) removeFeed(f *feed) {
	at := &e.feeds
	for *at != f {
		at = &(*at).next
	}
	*at, f.next = f.next, nil
	e.updateOffered()
}

// setOffered notes that f has offered what lies below to.
func (e *encoding) setOffered(f *feed, to uint64) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	f.offered = to
	e.updateOffered()
}

// updateOffered tells the log what all have offered. The channel's mutex must be held.
func (e *encoding) updateOffered() {
	lowest := uint64(framelog.NoReaders)
	for f := e.feeds; f != nil; f = f.next {
		lowest = min(lowest, f.offered)
	}
	e.log.Offered(lowest)
}

// appendToLogs puts a message into a channel's logs, at the same place among the others in each.
// It returns its id, and how many connections there are to get it. The channel must be
// woken after it. What is laborious is done before the lock is taken; under it, only
// for what began to be read meanwhile. wants is the id that it is to have, or 0 for the next one.
func (srv *Server) appendToLogs(ch *channel, m Message, wants uint64) (id uint64, receivers int) {
	o := outgoing{Message: m}
	defer o.recycle()
	ch.mu.Lock()
	if ch.plain.next != nil {
		var forms [maxForms]*form
		n := 0
		for e := ch.plain.next; e != nil; e = e.next {
			forms[n] = e.form
			n++
		}
		ch.mu.Unlock()
		for _, f := range forms[:n] {
			o.prepare(f, srv.cfg.CompressMinBytes)
		}
		ch.mu.Lock()
	}
	var lag, number uint64
	id = wants
	for e := &ch.plain; e != nil; e = e.next {
		if e.form.kind == formEvents || e.form.bits > 0 {
			o.prepare(e.form, srv.cfg.CompressMinBytes)
		}
		var room [128]byte
		head, payload := e.form.encode(room[:0], &o, id) // The plain one needs no id.
		var l uint64
		number, l = e.log.Append(head, payload)
		lag = max(lag, l)
		if id == 0 {
			id = number + 1
		}
	}
	if ch.ids != nil {
		ch.recordID(number, id)
	}
	receivers = ch.conns
	ch.mu.Unlock()
	srv.total.messages.Add(1)
	srv.total.bytesIn.Add(uint64(len(m.Payload)))
	if lag > srv.mayLag() || srv.full() {
		ch.behind.Store(true) // Before the shards are woken: one of them clears it.
	}
	return id, receivers
}
