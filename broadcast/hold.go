package broadcast

import (
	"sync"
	"sync/atomic"
)

// holding is who waits because the server is behind: publishing connections,
// which are not read, so that TCP pushes back on their peers, and calls of
// Publish. Each of them goes on when caughtUp says so.
type holding struct {
	mu    sync.Mutex
	conns []*Conn       // Guarded by mu. Their reading side stays owned.
	gate  chan struct{} // Guarded by mu: closed when the server has caught up; nil if nobody waits.
}

// mayLag is how far the slowest shard may be behind the head, in bytes, until
// publishers are held. It is half the retention: so a pass that began at the
// head is over before the log drops what it writes, and nobody is lapped
// because the server was slow.
func (srv *Server) mayLag() uint64 { return uint64(srv.cfg.RetainBytes) / 2 }

// hold stops reading a connection until the server has caught up, or until it may
// publish again.
func (srv *Server) hold(c *Conn) {
	if srv.limiter.hold(c) {
		srv.total.rateHolds.Add(1)
		return
	}
	srv.total.holds.Add(1)
	h := &srv.holding
	h.mu.Lock()
	h.conns = append(h.conns, c)
	h.mu.Unlock()
	if !srv.behind.Load() { // It caught up before c was in the list.
		srv.resume()
	}
}

// ready returns a channel that is closed when the server has caught up, or nil
// if it is not behind.
func (h *holding) ready(behind *atomic.Bool) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !behind.Load() {
		return nil
	}
	if h.gate == nil {
		h.gate = make(chan struct{})
	}
	return h.gate
}

// caughtUp is called by each shard when it has offered what there was.
func (srv *Server) caughtUp() {
	if srv.behind.Load() && srv.lag() <= srv.mayLag() {
		srv.behind.Store(false)
		srv.resume()
	}
}

// resume lets everyone go on.
func (srv *Server) resume() {
	h := &srv.holding
	h.mu.Lock()
	conns := h.conns
	h.conns = nil
	if h.gate != nil {
		close(h.gate)
		h.gate = nil
	}
	h.mu.Unlock()
	for _, c := range conns {
		srv.queue.push(c)
	}
}

func (h *holding) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}
