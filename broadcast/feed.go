package broadcast

import (
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast/framelog"
)

// feed is a shard's part of one encoding: the connections of the shard that read it. A server may have very many
// feeds, most of them at rest, so what only a running pass needs belongs to the shard: see TestChannelSize.
type feed struct {
	// Immutable after construction.
	shard    *shard
	encoding *encoding // nil for a shard's lobby.

	// Owned by the shard.
	open        connList       // The open connections.
	view        *framelog.View // The log as the last pass saw it; nil if no connection needs it: see shard.releaseViews.
	offFastPath int32          // Connections with a flag in receiver.out.
	slot        uint32         // 1 + index in shard.feeds, or 0.

	// Guarded by encoding.channel.mu.
	next    *feed  // The next in encoding.feeds.
	offered uint64 // Everything below this offset was offered to all connections. The shard reads it without the mutex.
	conns   int32  // Connections that have joined, open or not.

	due atomic.Bool // Written under shard.inbox.mu: whether the feed is in inbox.due. Read by inbox.putDue without it.
}

// passing is the state of the pass that a shard makes. Owned by the shard.
type passing struct {
	feed   *feed          // nil between passes.
	passed int            // Index of the connection in feed.open that the pass has reached.
	prev   *framelog.View // The log as the previous pass saw it, or nil.
	lag    uint64         // The greatest lag of a blocked connection.
	missed []*Conn        // Connections that moved to a place that the pass has been at already.
}

// batch is the bytes of a log that a run of connections gets. Nearly all connections of a feed have the same cursor,
// so these bytes are looked up once for all of them. Owned by the shard.
type batch struct {
	feed     *feed
	from, to uint64   // Offsets in the log.
	frames   uint64   // How many frames end between from and to.
	pieces   [][]byte // Borrowed from the log's segments, as long as the feed has its view.
}

// look returns the log as the last pass saw it. Newer messages wait for the next pass, which first reads the inbox: a
// pong may have to go out before them.
func (f *feed) look() *framelog.View {
	if f.view == nil {
		f.load()
		f.view.Cut(f.offered)
	}
	return f.view
}

// load takes a new view of the log.
func (f *feed) load() {
	s := f.shard
	f.view = s.newView()
	f.encoding.log.Load(f.view)
	s.batch.feed = nil
	s.touched = append(s.touched, f)
}

// inboxEvery is the number of connections after which a pass reads the inbox and the time. A pass over a million
// connections takes seconds, and a close or a ping should not wait for its end.
const inboxEvery = 64

// pass brings every connection that can be written to the log's head.
func (f *feed) pass() {
	s := f.shard
	p := &s.passing
	p.feed, p.prev = f, f.view // The previous view has the rest of the frame that a lapped connection is in.
	f.load()
	// A pong that was posted before a message was published leaves before it.
	s.readInbox()
	head, tail := f.view.Head, f.view.Tail
	for p.passed = 0; p.passed < len(f.open); {
		i := p.passed
		c := f.open[i]
		switch {
		case c.cursor >= head:
		case c.out == 0 && c.cursor == s.batch.from && s.batch.to == head && s.batch.feed == f:
			// The fast path, taken nearly always. It is flush without flush's calls, each of which would be a cache
			// miss after the kernel returns.
			n, errno := s.sockets.send(int(c.fd), s.batch.pieces)
			if s.sent(c, n); c.cursor == head {
				s.delivered += s.batch.frames
				break
			}
			f.countPartly(c, n)
			if errno == 0 || s.mayRetrySend(c, errno) {
				f.flush(c)
			}
		case c.out&outBlocked == 0:
			f.flush(c)
		case c.cursor < tail:
			f.applySlowPolicy(c)
		default:
			p.lag = max(p.lag, head-c.cursor)
		}
		if i%inboxEvery == 0 {
			if s.inbox.hasPosts.Load() { // Pairs with the stores in extend and takePosts.
				s.readInbox()
			}
			s.watch.noteStep(i, time.Since(s.srv.started))
		}
		// If c was taken out, another connection is in its place.
		if p.passed < len(f.open) && f.open[p.passed] == c {
			p.passed++
		}
	}
	f.passMissed(head, tail)
	if s.keptViews[f] != p.lag {
		s.keptViews[f] = p.lag // releaseViews takes f out if no connection needs its view.
	}
	p.feed, p.passed, p.lag = nil, 0, 0
	s.freeView(p.prev)
	p.prev = nil
}

// passMissed visits the connections that removeConn has moved to a place that the pass had been at already.
func (f *feed) passMissed(head, tail uint64) {
	p := &f.shard.passing
	for n := len(p.missed); n > 0; n = len(p.missed) {
		c := p.missed[n-1]
		p.missed[n-1] = nil
		p.missed = p.missed[:n-1]
		if c.phase != phaseOpen || c.cursor >= head {
			continue
		}
		if c.out&outBlocked == 0 {
			f.flush(c)
		} else if c.cursor < tail {
			f.applySlowPolicy(c)
		}
	}
}

// addConn makes c a receiver of what is published after its cursor. If the log has dropped these bytes meanwhile, moved
// is true, and first is the number of the frame that c gets first instead.
func (f *feed) addConn(c *Conn) (first uint64, moved bool) {
	s := f.shard
	if f.slot == 0 {
		s.feeds = append(s.feeds, f)
		f.slot = uint32(len(s.feeds))
	}
	if v := f.look(); c.cursor < v.Tail {
		// Its worker posted opened late. c gets what the log still holds, from a frame boundary on.
		c.cursor = v.Boundary(v.Tail)
		first, moved = v.First, true
	}
	f.open.add(c)
	s.opened++
	return first, moved
}

// removeConn takes c out. If this moves another connection to a place that the running pass has been at already, the
// pass visits that connection at its end.
func (f *feed) removeConn(c *Conn) {
	s := f.shard
	slot := int(c.slot)
	s.opened--
	s.expiries.cancel(c)
	if moved := f.open.remove(c); moved != nil && s.passing.feed == f && slot < s.passed {
		s.missed = append(s.missed, moved)
	}
}

// flush writes everything of the log that c has not got yet. It is the core of a broadcast: one look-up that nearly
// always hits, and one system call.
func (f *feed) flush(c *Conn) {
	if c.cursor < f.look().Tail { // Lapped since the last look.
		if f.applySlowPolicy(c); c.phase != phaseOpen {
			return
		}
	}
	if c.out&outPending != 0 && !f.shard.flushOutOfBand(c) {
		return
	}
	f.writeLog(c, f.view.Head)
}

// writeLog writes the log from c's cursor to the offset to, and reports whether it got there. If not, c is blocked or
// gone.
func (f *feed) writeLog(c *Conn, to uint64) bool {
	s := f.shard
	for c.cursor < to {
		if b := &s.batch; b.from != c.cursor || b.to != to || b.feed != f {
			f.fill(c.cursor, to)
		}
		n, ok := s.write(c, s.batch.pieces)
		if s.sent(c, n); uint64(n) == s.batch.to-s.batch.from {
			s.delivered += s.batch.frames
		} else {
			f.countPartly(c, n)
		}
		if !ok {
			return false
		}
	}
	return true
}

// countPartly counts the messages that ended in the last n bytes before c's cursor as delivered.
func (f *feed) countPartly(c *Conn, n int) {
	if n > 0 {
		v := f.look()
		f.shard.delivered += v.Ended(c.cursor) - v.Ended(c.cursor-uint64(n))
	}
}

// fill looks up the bytes of the log from one offset to another, or as many of them as fit into one system call.
func (f *feed) fill(from, to uint64) {
	b, v := &f.shard.batch, f.look()
	b.pieces = v.Slices(b.pieces[:0], from, to)
	b.frames = v.Ended(to) - v.Ended(from)
	b.feed, b.from, b.to = f, from, to
}

// reachOutOfBand writes the log up to the place where the next of the out-of-band bytes a go out, and reports whether
// it got there. If the next bytes are a close frame, it begins the close handshake at that place (or earlier if the
// socket is full) and returns false.
func (f *feed) reachOutOfBand(c *Conn, a *outOfBand) bool {
	at := a.at
	if !a.nothingPlaced() {
		at = a.first()
	}
	ok := c.cursor >= at || f.writeLog(c, min(at, f.look().Head))
	if ok && c.cursor < at {
		return false // The next pass sees more of the log.
	}
	if a.why != 0 && c.phase == phaseOpen && (!ok || a.nothingPlaced()) {
		f.shard.startClose(c, a.closing, a.why)
		return false
	}
	return ok
}

// finishFrame writes the rest of the frame that c is in the middle of, and reports whether c is at a boundary then.
func (f *feed) finishFrame(c *Conn) bool {
	v := f.look()
	if c.cursor >= v.Head {
		return true
	}
	if c.cursor < v.Tail { // Only if c is closing: flush has handled open connections.
		c.abort()
		f.shard.finish(c, c.why)
		return false
	}
	if !f.writeLog(c, v.Boundary(c.cursor)) {
		return false
	}
	if c.phase == phaseClosing {
		c.cursor = noMore
	}
	return true
}

// betweenFrames reports whether c has received whole frames only.
func (f *feed) betweenFrames(c *Conn) bool {
	v := f.look()
	return v.Holds(c.cursor) && v.Boundary(c.cursor) == c.cursor
}
