package broadcast

import (
	"sync"
	"sync/atomic"
)

// mostChanges is how many channels are remembered to have changed: of more, only that there were.
const mostChanges = 1 << 16

// changes is the channels whose number of connections has changed. Nothing is noted before somebody asks.
type changes struct {
	on atomic.Bool // Written by Changed, read by note.

	mu    sync.Mutex
	names []string // Guarded by mu: those that changed first come first.
	many  bool     // Guarded by mu: there were more than mostChanges.
}

// note notes that a channel's number of connections has changed. The channel's mutex must be held.
func (s *changes) note(ch *channel) {
	if ch.changed || !s.on.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) == mostChanges {
		s.many = true
		return
	}
	s.names = append(s.names, ch.name)
	ch.changed = true
}

// take takes out at most so many, or all if there were too many.
func (s *changes) take(most int) (names []string, many bool) {
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
// returned them, the oldest change first. A later call of Count returns a number at least as new. If many is true, more
// channels have changed than are remembered, so any channel may have changed. Recording starts with the first call. Only
// one caller may use Changed.
func (srv *Server) Changed(most int) (names []string, many bool) {
	srv.changes.on.Store(true)
	names, many = srv.changes.take(most)
	for _, name := range names {
		if ch := srv.channel(name); ch != nil {
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

// Count is how many connections a channel has, or 0 if there is none of that name.
func (srv *Server) Count(name string) int {
	ch := srv.channel(name)
	if ch == nil {
		return 0
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.conns
}

// Occupied returns the names of the channels that have connections, in no order. It looks at all there are.
func (srv *Server) Occupied() []string {
	var names []string
	for _, ch := range srv.channels.all() {
		ch.mu.Lock()
		if ch.conns > 0 {
			names = append(names, ch.name)
		}
		ch.mu.Unlock()
	}
	return names
}

// Joined is how many connections all channels have together.
func (srv *Server) Joined() int {
	n := int64(0)
	for i := range srv.total.kinds {
		n += srv.total.kinds[i].Load()
	}
	return int(n)
}

// channel returns the channel of a name, or nil.
func (srv *Server) channel(name string) *channel {
	srv.channels.mu.Lock()
	defer srv.channels.mu.Unlock()
	return srv.channels.byName[name]
}
