package broadcast

import "github.com/crier-ws/crier/broadcast/framelog"

// encoding is a channel's messages in one form: a log of their own, and the feeds that read it.
type encoding struct {
	// Immutable after construction.
	channel *channel
	form    *form
	log     framelog.Log // Has a mutex of its own.

	// Guarded by channel.mu.
	next  *encoding // The channel's next encoding; channel.plain is the first.
	feeds *feed     // A list with one feed for each shard that has readers.
}

// feedFor returns a shard's feed of e, made if there is none. The channel's mutex must be held.
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

// removeFeed takes out a feed that no longer has connections. The channel's mutex must be held.
func (e *encoding) removeFeed(f *feed) {
	at := &e.feeds
	for *at != f {
		at = &(*at).next
	}
	*at, f.next = f.next, nil
	e.updateOffered()
}

// setOffered records that f's shard has offered everything below the offset to.
func (e *encoding) setOffered(f *feed, to uint64) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	f.offered = to
	e.updateOffered()
}

// updateOffered tells the log up to where all feeds have offered it: the log may drop nothing above that. The channel's
// mutex must be held.
func (e *encoding) updateOffered() {
	lowest := uint64(framelog.NoReaders)
	for f := e.feeds; f != nil; f = f.next {
		lowest = min(lowest, f.offered)
	}
	e.log.Offered(lowest)
}
