package broadcast

import (
	"math"
	"time"

	"github.com/gobwas/ws"
)

// tickEvery is how often the server's clock ticks.
const tickEvery = 100 * time.Millisecond

// sweep is the position of the keep-alive in the open connections. One sweep takes PingInterval, so
// that pings are spread evenly over it. Owned by the shard. Times are those of Server.clock.
type sweep struct {
	began uint32
	last  uint32 // The time of the last tick; 0 before the first.
	feed  int    // Index in shard.feeds.
	next  int    // Index in the feed's open list.
	seen  int    // The number of connections that were visited.
}

// tick does what is due by time. round calls it after each tick of the server's clock.
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

// abortOverdue releases closing connections whose peers took too long.
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

// retry writes again to starved connections: those whose sends have failed for lack of kernel memory.
func (s *shard) retry() {
	starved := s.starved
	s.starved = nil
	for _, c := range starved {
		if c.phase != phaseNone {
			s.resumeWrite(c)
		}
	}
}

// keepAlive visits the share of the connections that is due since the last tick.
func (s *shard) keepAlive(now uint32) {
	const late = 5 * tickEvery
	interval := milliseconds(s.srv.cfg.PingInterval)
	// A pass over a million connections takes seconds, without a tick. The pings that were due meanwhile are put off,
	// because sent all at once they would be a storm.
	if gap := now - s.sweep.last; s.sweep.last != 0 && gap > milliseconds(late) {
		s.sweep.began += gap - milliseconds(tickEvery)
	}
	s.sweep.last = max(now, 1)
	elapsed := now - s.sweep.began
	due := math.MaxInt // All that remain.
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
		// If c was taken out, another connection is in its place.
		if w.next < len(f.open) && f.open[w.next] == c {
			w.next++
		}
	}
	if elapsed >= interval {
		s.sweep = sweep{began: now, last: s.sweep.last}
	}
}

// visit pings a connection, or drops it if it gave no sign of life for too long. A connection in the middle of a
// frame is not pinged (RFC 6455, section 5.4, allows no frame inside another), but must show life all the same.
func (s *shard) visit(c *Conn, now uint32) {
	// If the reading side is owned, bytes from the peer wait to be read: a worker reads c, or c is held. Clients of
	// events never send anything: see receiver.watchOver.
	form := c.feed().encoding.form
	if c.takeFlag(heard) || c.has(owned) || form.kind == formEvents {
		c.since = 0
	}
	// A visit may be up to one tick early or late.
	slack := milliseconds(min(tickEvery, s.srv.cfg.PingInterval/2))
	if s.srv.cfg.PingTimeout > 0 && c.since != 0 && !before(now+slack, c.since+milliseconds(s.srv.cfg.PingTimeout)) {
		c.abort()
		s.finish(c, ReasonPingTimeout)
		return
	}
	if c.since == 0 {
		c.since = max(now, 1)
	}
	if c.out == 0 { // Not in the middle of a frame, and not blocked.
		s.srv.total.pings.Add(1)
		s.sendBeforeLog(c, form.ping)
	}
}

// drainRate is the least number of connections a second that a drain closes.
const drainRate = 1000

// drain closes the share of the connections that is due: all of them over DrainTime, or sooner if they are few. Each
// connection first receives what was published before; one whose socket is full has until the end of the drain for
// that.
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

// milliseconds returns d in the unit of Server.clock, at least 1.
func milliseconds(d time.Duration) uint32 { return uint32(max(1, d.Milliseconds())) }

// before reports whether the time a is before b. Times may wrap around, and must be less than 24 days apart.
func before(a, b uint32) bool { return int32(a-b) < 0 }
