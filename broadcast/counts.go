package broadcast

import (
	"sync"
	"sync/atomic"
)

// maxCountChanges is how many channels countChanges has at most. If more change, only that is recorded.
const maxCountChanges = 1 << 16

// countChanges is the channels whose number of connections has changed, for servers that tell each other who is there.
type countChanges struct {
	on atomic.Bool // Atomic: written by Replica.Changed, read by record. Nothing is recorded before the first call.

	mu    sync.Mutex
	names []string // Guarded by mu: the oldest change first.
	many  bool     // Guarded by mu: there were more than maxCountChanges.
}

// record records that a channel's number of connections has changed. The channel's mutex must be held.
func (s *countChanges) record(ch *channel) {
	if ch.changed || !s.on.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == maxCountChanges {
		s.many = true
		return
	}
	s.names = append(s.names, ch.name)
	ch.changed = true
}

// takeNames removes and returns at most that many names, or all if there were too many to record.
func (s *countChanges) takeNames(most int) (names []string, many bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	many, s.many = s.many, false
	if most = min(most, len(s.names)); many {
		most = len(s.names)
	}
	names, s.names = s.names[:most:most], s.names[most:]
	if len(s.names) == 0 {
		s.names = nil
	}
	return names, many
}

// Changed returns the names of at most that many channels whose number of connections has changed since Changed last
// returned them, the oldest change first. A later call of Count returns a number at least as new. If many is true,
// more channels have changed than are remembered, so any channel may have changed. Recording starts with the first
// call. Only one caller may use Changed.
func (r *Replica) Changed(most int) (names []string, many bool) {
	r.changes.on.Store(true)
	names, many = r.changes.takeNames(most)
	for _, name := range names {
		if ch := r.srv.channel(name); ch != nil {
			ch.mu.Lock()
			ch.changed = false
			ch.mu.Unlock()
		}
	}
	if many {
		return nil, true
	}
	return names, false
}

// Count returns how many connections a channel has, or 0 if there is no channel of that name.
func (r *Replica) Count(name string) int {
	ch := r.srv.channel(name)
	if ch == nil {
		return 0
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.conns
}

// Occupied returns the names of the channels that have connections, in no order. It visits every channel.
func (r *Replica) Occupied() []string {
	var names []string
	for _, ch := range r.srv.channels.all() {
		ch.mu.Lock()
		if ch.conns > 0 {
			names = append(names, ch.name)
		}
		ch.mu.Unlock()
	}
	return names
}

// Joined returns how many connections all channels have together.
func (r *Replica) Joined() int {
	n := int64(0)
	for i := range r.srv.total.kinds {
		n += r.srv.total.kinds[i].Load()
	}
	return int(n)
}

// channel returns the channel of a name, or nil.
func (srv *Server) channel(name string) *channel {
	srv.channels.mu.Lock()
	defer srv.channels.mu.Unlock()
	return srv.channels.byName[name]
}
