package broadcast

import (
	"slices"
	"strings"
	"sync"
)

// holding has the gated publishers of each channel: held connections, which are not read, so that TCP pushes back on
// their peers, and blocked calls of Publish. caughtUp ends the wait.
type holding struct {
	mu        sync.Mutex
	byChannel map[*channel]*waiters // Guarded by mu.
}

// waiters is the publishers that wait for one channel. It is guarded by the mutex of holding.
type waiters struct {
	conns []*Conn       // Their reading sides stay owned.
	gate  chan struct{} // Closed when the server has caught up; nil if no call of Publish waits.
}

// waitersOf returns the publishers that wait for ch. The mutex must be held.
func (h *holding) waitersOf(ch *channel) *waiters {
	w := h.byChannel[ch]
	if w == nil {
		w = new(waiters)
		h.byChannel[ch] = w
	}
	return w
}

// maxLag returns how far the slowest shard may be behind the head, in bytes, before publishers are held. It is half the
// retention: a pass that began at the head ends before the log drops what the pass writes, so no connection is lapped
// because the server was slow.
func (srv *Server) maxLag() uint64 { return uint64(srv.cfg.RetainBytes) / 2 }

// full reports whether the logs of all channels, with what views still hold of them, exceed Config.RetainTotalBytes by
// more than maxLag.
func (srv *Server) full() bool {
	total := srv.cfg.RetainTotalBytes
	return srv.cfg.Channels && uint64(srv.forms[0].log.Space.Taken()) > uint64(total)+srv.maxLag()
}

// hold stops reading a connection until the server has caught up, or until the connection may publish again.
func (srv *Server) hold(c *Conn) {
	if c.readPhase() == readHead {
		srv.replica.ahead.add(c)
		return
	}
	if srv.limiter.holdIfOver(c) {
		srv.total.rateHolds.Add(1)
		return
	}
	if srv.replica.gatedTooLong() {
		c.freeInbound()
		c.violated(errUnordered)
		srv.queue.push(c)
		return
	}
	srv.total.holds.Add(1)
	ch := c.channel()
	h := &srv.holding
	h.mu.Lock()
	w := h.waitersOf(ch)
	w.conns = append(w.conns, c)
	h.mu.Unlock()
	if !ch.behind.Load() && !srv.replica.gated.Load() { // The server caught up before c was in the list.
		srv.resume(ch)
	}
}

// ready returns a Go channel that is closed when the server has caught up in ch, or nil if it is not behind.
func (h *holding) ready(ch *channel) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !ch.behind.Load() {
		return nil
	}
	w := h.waitersOf(ch)
	if w.gate == nil {
		w.gate = make(chan struct{})
	}
	return w.gate
}

// caughtUp ends the wait for a channel if the server is no longer behind. Each shard calls it after it has offered the
// channel's messages, and so does the clock.
func (srv *Server) caughtUp(ch *channel) {
	if !ch.behind.Load() {
		return
	}
	if srv.full() {
		srv.forms[0].log.Space.Evict() // Messages that were offered since may be dropped.
		if srv.cfg.Replication.Order != nil {
			srv.channels.tidySoon.Store(true) // And so may their IDs.
		}
	}
	if ch.lag() <= srv.maxLag() && !srv.full() {
		ch.behind.Store(false)
		srv.resume(ch)
	}
}

// takeLeaving removes and returns the connections for which mustLeave returns true.
func (h *holding) takeLeaving() (conns []*Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var some []*channel // With such connections: nearly always none.
	for ch, w := range h.byChannel {
		if slices.ContainsFunc(w.conns, mustLeave) {
			some = append(some, ch)
		}
	}
	for _, ch := range sorted(some) {
		w := h.byChannel[ch]
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

// mustLeave reports whether a held connection has to end, or its messages will not be published.
func mustLeave(c *Conn) bool { return c.has(closed | evicted | mute) }

// resume ends the wait of the publishers that wait for ch, except of connections that HoldPublishers holds.
func (srv *Server) resume(ch *channel) {
	h := &srv.holding
	h.mu.Lock()
	w := h.byChannel[ch]
	if w == nil {
		h.mu.Unlock()
		return
	}
	if w.gate != nil {
		close(w.gate)
		w.gate = nil
	}
	var conns []*Conn
	if len(w.conns) == 0 || !srv.replica.gated.Load() || srv.replica.gatedTooLong() {
		conns = w.conns
		delete(h.byChannel, ch)
	}
	h.mu.Unlock()
	for _, c := range conns {
		srv.queue.push(c)
	}
}

// awaited returns the channels that publishers wait for and for which keep returns true. A nil keep selects all.
func (h *holding) awaited(keep func(*channel) bool) []*channel {
	var chs []*channel
	h.mu.Lock()
	for ch := range h.byChannel {
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

// connCount returns how many connections wait.
func (h *holding) connCount() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.byChannel {
		n += len(w.conns)
	}
	return n
}
