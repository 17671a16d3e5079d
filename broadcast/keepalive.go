package broadcast

import (
	"math"
	"time"

	"github.com/gobwas/ws"
)

// tickEvery is how often the server's clock ticks.
const tickEvery = 100 * time.Millisecond

// sweep is how far the keep-alive is on its way through the open connections.
// One sweep takes PingInterval, so pings are spread evenly over it.
type sweep struct {
	began uint32 // Server.clock
	last  uint32 // Server.clock at the last tick, 0 before the first
	feed  int    // index in shard.feeds
	next  int    // index in its open list
	seen  int    // how many were visited
}

// tick does what is due by time. The server's clock calls for it every
// tickEvery.
func (s *shard) tick() {
	now := s.srv.clock()
	s.abortOverdue(now)
	s.closeExpired()
	s.retry()
	s.refresh()
	if s.srv.draining.Load() {
		s.drain(now)
	} else if s.srv.cfg.PingInterval > 0 {
		s.keepAlive(now)
	}
}

// abortOverdue lets go of closing connections whose peers took too long.
func (s *shard) abortOverdue(now uint32) {
	for i := 0; i < len(s.closing); {
		c := s.closing[i]
		if before(now, c.since) {
			i++
			continue
		}
		c.abort()
		s.finish(c, c.why)
	}
}

// retry tries again what failed for want of kernel memory.
func (s *shard) retry() {
	starved := s.starved
	s.starved = nil
	for _, c := range starved {
		if c.phase != phaseNone {
			s.resumeWrite(c)
		}
	}
}

// keepAlive visits the part of the connections that is due since the last tick.
func (s *shard) keepAlive(now uint32) {
	const late = 5 * tickEvery
	interval := milliseconds(s.srv.cfg.PingInterval)
	// A pass to a million connections takes seconds, without a tick. What was due
	// meanwhile is put off: all at once it would be a storm.
	if gap := now - s.sweep.last; s.sweep.last != 0 && gap > milliseconds(late) {
		s.sweep.began += gap - milliseconds(tickEvery)
	}
	s.sweep.last = max(now, 1)
	elapsed := now - s.sweep.began
	due := math.MaxInt // All that are left.
	if elapsed < interval {
		due = int(uint64(s.opened) * uint64(elapsed) / uint64(interval))
	}
	for w := &s.sweep; w.seen < due && w.feed < len(s.feeds); {
		f := s.feeds[w.feed]
		if w.next >= len(f.open) {
			w.feed, w.next = w.feed+1, 0
			continue
		}
		c := f.open[w.next]
		s.visit(c, now)
		w.seen++
		// Unless it was taken out and another is in its place.
		if w.next < len(f.open) && f.open[w.next] == c {
			w.next++
		}
	}
	if elapsed >= interval {
		s.sweep = sweep{began: now, last: s.sweep.last}
	}
}

// visit pings a connection, or drops it if it gave no sign of life for too
// long. A connection in the middle of a frame is not pinged, but must show
// life all the same.
func (s *shard) visit(c *Conn, now uint32) {
	// Owned: there are bytes from the peer that wait to be read, because a
	// worker is at it or because it is held.
	form := c.feed().encoding.form
	if c.takeFlag(heard) || c.has(owned) || form.kind == formEvents { // Of events nobody answers: see Conn.watchOver.
		c.since = 0
	}
	// A visit comes up to one tick early or late.
	slack := milliseconds(min(tickEvery, s.srv.cfg.PingInterval/2))
	if s.srv.cfg.PingTimeout > 0 && c.since != 0 && !before(now+slack, c.since+milliseconds(s.srv.cfg.PingTimeout)) {
		c.abort()
		s.finish(c, ReasonPingTimeout)
		return
	}
	if c.since == 0 {
		c.since = max(now, 1)
	}
	if c.out == 0 {
		s.srv.total.pings.Add(1)
		s.sendBeforeLog(c, form.ping)
	}
}

// drainRate is how many connections a second a drain closes at least.
const drainRate = 1000

// drain closes the share of the connections that is due: all of them over
// DrainTime, or sooner where they are few. Each gets what was published
// before; one whose socket is full gets until the end of the drain for it.
func (s *shard) drain(now uint32) {
	elapsed := max(0, int(int32(now-s.srv.drainBegan.Load()))) // The drain may have begun after now.
	whole := int(milliseconds(s.srv.cfg.DrainTime))
	total := s.drained + s.opened
	whole = min(whole, total*1000*s.srv.cfg.Shards/drainRate)
	over := elapsed >= whole
	due := total
	if !over {
		due = max(1, total*elapsed/whole)
	}
	late := elapsed >= int(milliseconds(s.srv.cfg.DrainTime))
	for k := len(s.feeds) - 1; k >= 0 && s.drained < due; k-- {
		if k >= len(s.feeds) {
			continue
		}
		f := s.feeds[k]
		s.catchUp(f)
		for i := len(f.open) - 1; i >= 0 && s.drained < due; i-- {
			if i >= len(f.open) {
				continue
			}
			if c := f.open[i]; late || c.out == 0 && c.cursor >= f.offered {
				s.drained++
				s.startClose(c, goingAway, ReasonShutdown)
			}
		}
	}
}

var goingAway = appendClose(nil, ws.StatusGoingAway, "server is shutting down")

// milliseconds is d as the clock counts.
func milliseconds(d time.Duration) uint32 { return uint32(max(1, d.Milliseconds())) }

// before says whether a is before b, for times less than 24 days apart.
func before(a, b uint32) bool { return int32(a-b) < 0 }
