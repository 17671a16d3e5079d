package broadcast

import (
	"slices"
	"strings"
	"sync"
)

// holding is who waits because the server is behind in a channel: publishing
// connections, which are not read, so that TCP pushes back on their peers, and calls
// of Publish. Each of them goes on when caughtUp says so.
type holding struct {
	mu sync.Mutex
	of map[*channel]*waiters // Guarded by mu.
}

// waiters are who waits for one channel.
type waiters struct {
	conns []*Conn       // Their reading side stays owned.
	gate  chan struct{} // Closed when it has caught up; nil if nobody waits for that.
}

// in returns who waits for ch. The mutex must be held.
func (h *holding) in(ch *channel) *waiters {
	w := h.of[ch]
	if w == nil {
		w = new(waiters)
		h.of[ch] = w
	}
	return w
}

// mayLag is how far the slowest shard may be behind the head, in bytes, until
// publishers are held. It is half the retention: so a pass that began at the
// head is over before the log drops what it writes, and nobody is lapped
// because the server was slow.
func (srv *Server) mayLag() uint64 { return uint64(srv.cfg.RetainBytes) / 2 }

// full says whether what is still to be offered in all channels is too much: more than
// the total by the same half of a channel's retention.
func (srv *Server) full() bool {
	total := srv.cfg.RetainTotalBytes
	return srv.cfg.Channels && uint64(srv.forms[0].log.Space.Taken()) > uint64(total)+srv.mayLag()
}

// hold stops reading a connection until the server has caught up, or until it may
// publish again.
func (srv *Server) hold(c *Conn) {
	if c.readPhase == readHead {
		srv.early.add(c)
		return
	}
	if srv.limiter.holdIfOver(c) {
		srv.total.rateHolds.Add(1)
		return
	}
	if srv.gatedTooLong() {
		c.freeInbound()
		c.violated(errUnordered)
		srv.queue.push(c)
		return
	}
	srv.total.holds.Add(1)
	ch := c.channel()
	h := &srv.holding
	h.mu.Lock()
	w := h.in(ch)
	w.conns = append(w.conns, c)
	h.mu.Unlock()
	if !ch.behind.Load() && !srv.gated.Load() { // It caught up before c was in the list.
		srv.resume(ch)
	}
}

// ready returns a channel that is closed when ch has caught up, or nil if it is not
// behind.
func (h *holding) ready(ch *channel) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !ch.behind.Load() {
		return nil
	}
	w := h.in(ch)
	if w.gate == nil {
		w.gate = make(chan struct{})
	}
	return w.gate
}

// caughtUp is called by each shard when it has offered what there was in a channel, and
// by the clock.
func (srv *Server) caughtUp(ch *channel) {
	if !ch.behind.Load() {
		return
	}
	if srv.full() {
		srv.forms[0].log.Space.Evict() // What has been offered since may go.
		if srv.cfg.Order != nil {
			srv.channels.tidySoon.Store(true) // So may ids of what went.
		}
	}
	if ch.lag() <= srv.mayLag() && !srv.full() {
		ch.behind.Store(false)
		srv.resume(ch)
	}
}

// mustGo takes out the connections that have to go, and those whose messages will not be published.
func (h *holding) mustGo() (conns []*Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var some []*channel // That have such connections: nearly always none.
	for ch, w := range h.of {
		if slices.ContainsFunc(w.conns, mustLeave) {
			some = append(some, ch)
		}
	}
	for _, ch := range sorted(some) {
		w := h.of[ch]
		w.conns = slices.DeleteFunc(w.conns, func(c *Conn) bool {
			gone := mustLeave(c)
			if gone {
				conns = append(conns, c)
			}
			return gone
		})
	}
	return conns
}

// mustLeave reports whether a held connection has to go, or its messages will not be published.
func mustLeave(c *Conn) bool { return c.has(closed | evicted | mute) }

// resume lets everyone go on who waits for ch; connections not while HoldPublishers holds them.
func (srv *Server) resume(ch *channel) {
	h := &srv.holding
	h.mu.Lock()
	w := h.of[ch]
	if w == nil {
		h.mu.Unlock()
		return
	}
	if w.gate != nil {
		close(w.gate)
		w.gate = nil
	}
	var conns []*Conn
	if len(w.conns) == 0 || !srv.gated.Load() || srv.gatedTooLong() {
		conns = w.conns
		delete(h.of, ch)
	}
	h.mu.Unlock()
	for _, c := range conns {
		srv.queue.push(c)
	}
}

// awaited returns the channels that publishers wait for and for which keep returns true; a nil keep selects all.
func (h *holding) awaited(keep func(*channel) bool) []*channel {
	var chs []*channel
	h.mu.Lock()
	for ch := range h.of {
		if keep == nil || keep(ch) {
			chs = append(chs, ch)
		}
	}
	h.mu.Unlock()
	return sorted(chs)
}

// sorted sorts channels by name, so that runs of the simulation with the same seed are the same.
func sorted(chs []*channel) []*channel {
	slices.SortFunc(chs, func(a, b *channel) int { return strings.Compare(a.name, b.name) })
	return chs
}

// isBehind reports whether publishers of ch have to wait for the server.
func (ch *channel) isBehind() bool { return ch.behind.Load() }

// len is how many connections wait.
func (h *holding) len() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.of {
		n += len(w.conns)
	}
	return n
}
