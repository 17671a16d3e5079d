package broadcast

import (
	"sync"
	"time"
)

// aheadTime is how long a connection waits for messages of other servers before it is refused.
const aheadTime = 2 * time.Second

// errBehind refuses a connection that has waited for aheadTime: another server may have what it needs.
var errBehind = &Refusal{503, "this server has not received all messages of the channel yet"}

// mustWait reports whether c must wait until this server receives c's channel and has delivered what c received from
// another server. It returns errBehind if c has waited too long. The channel must be entered, so that it stays
// followed.
func (c *Conn) mustWait(channel string, p position) (bool, *Refusal) {
	srv := c.shard().srv
	follower := srv.cfg.Replication.Follower
	ahead := c.isAhead(p)
	if (follower == nil || follower.Follow(channel)) && !ahead {
		return false, nil
	}
	in, now := c.inbound(), time.Since(srv.started)
	if in.aheadSince == 0 {
		in.aheadSince = max(1, now)
	}
	if ahead {
		srv.cfg.Replication.Order.Ahead()
	}
	if now-in.aheadSince < aheadTime {
		return true, nil
	}
	return false, errBehind
}

// isAhead reports whether a client has a message of this order that the server has not delivered yet. It is false once
// all messages that existed when the client connected are delivered: the ID is then from an order that was lost.
func (c *Conn) isAhead(p position) bool {
	srv := c.shard().srv
	epoch, id, _ := splitID(p.since)
	if srv.cfg.Replication.Order == nil || epoch != srv.cfg.Replication.Epoch || id <= srv.replica.delivered.Load() {
		return false
	}
	waited := c.in != nil && c.in.aheadSince != 0
	return !waited || time.Duration(srv.replica.currentAt.Load()) <= c.in.aheadSince
}

// aheadConns is the connections that wait: see Conn.mustWait. Their reading sides stay owned.
type aheadConns struct {
	mu    sync.Mutex
	conns []*Conn // Guarded by mu.
}

func (a *aheadConns) add(c *Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = append(a.conns, c)
}

// recheck gives each of them a turn, in which it looks again whether it must wait.
func (a *aheadConns) recheck(srv *Server) {
	a.mu.Lock()
	conns := a.conns
	a.conns = nil
	a.mu.Unlock()
	for _, c := range conns {
		srv.queue.push(c)
	}
}
