package broadcast

import (
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// feed is a shard's part of one encoding: the connections that get its bytes. All
// that it has is the shard's but for conns and next. There may be very many, most of
// them at rest: what only passes need is the shard's.
type feed struct {
	*shard             // Immutable.
	encoding *encoding // Immutable.
	next     *feed     // Guarded by encoding.channel.mu: see encoding.feeds.
	offered  uint64    // Written under encoding.channel.mu by the shard: what lies below was offered to all.
	open     connList

	// The log as the last pass saw it. nil when all have got all of that: see
	// shard.releaseViews.
	view *framelog.View

	conns       int32       // Guarded by encoding.channel.mu: those that joined.
	offFastPath int32       // Connections with something in Conn.out.
	slot        uint32      // 1 + index in shard.feeds, or 0.
	due         atomic.Bool // Written under shard.inbox.mu: it is in inbox.due.
}

// passing is the state of the pass that a shard makes.
type passing struct {
	feed   *feed          // nil between passes.
	passed int            // How far it is in feed.open.
	prev   *framelog.View // The log as the pass before saw it, or nil.
	lag    uint64         // How far the slowest that is blocked is behind.
	missed []*Conn        // Moved to a place that the pass has behind it.
}

// batch is the bytes of a log that a run of connections gets: nearly all
// stand at the same cursor, so they are looked up once.
type batch struct {
	feed     *feed
	from, to uint64
	frames   uint64 // How many end in it.
	pieces   [][]byte
}

// look returns the log as the last pass saw it. What has come since is for the next one,
// which first reads the inbox: a pong may have to go out before it.
func (f *feed) look() *framelog.View {
	if f.view == nil {
		f.load()
		f.view.Cut(f.offered)
	}
	return f.view
}

// load takes a new view of the log.
func (f *feed) load() {
	f.view = f.newView()
	f.encoding.log.Load(f.view)
	f.batch.feed = nil
	f.touched = append(f.touched, f)
}

// inboxEvery is after how many connections a pass looks into the inbox, and at the clock: a step. At a
// million a pass takes seconds, and a close or a ping should not.
const inboxEvery = 64

// pass brings every connection that can be written to the log's head.
func (f *feed) pass() {
	s := f.shard
	p := &s.passing
	p.feed, p.prev = f, f.view // A lapped connection's frame ends there.
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
			// Nearly always. It is flush without its calls, each of which would be a
			// cache miss when the kernel comes back.
			n, errno := s.sockets.send(int(c.fd), s.batch.pieces)
			if s.sent(c, n); c.cursor == head {
				s.delivered += s.batch.frames
				break
			}
			f.partly(c, n)
			if errno == 0 || s.refused(c, errno) {
				f.flush(c)
			}
		case c.out&outBlocked == 0:
			f.flush(c)
		case c.cursor < tail:
			f.lapped(c)
		default:
			p.lag = max(p.lag, head-c.cursor)
		}
		if i%inboxEvery == 0 {
			if s.inbox.hasPosts.Load() {
				s.readInbox()
			}
			s.watch.noteStep(i, time.Since(s.srv.started))
		}
		// Unless c was taken out and another is in its place.
		if p.passed < len(f.open) && f.open[p.passed] == c {
			p.passed++
		}
	}
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
			f.lapped(c)
		}
	}
	if s.keptViews[f] != p.lag {
		s.keptViews[f] = p.lag // settle takes it out if nobody is behind.
	}
	p.feed, p.passed, p.lag = nil, 0, 0
	s.freeView(p.prev)
	p.prev = nil
}

// addConn makes a connection get what is published from its cursor on. If that has left the log
// meanwhile, it is moved: first is the number of the frame that it gets first then.
func (f *feed) addConn(c *Conn) (first uint64, moved bool) {
	if f.slot == 0 {
		f.feeds = append(f.feeds, f)
		f.slot = uint32(len(f.feeds))
	}
	if v := f.look(); c.cursor < v.Tail {
		// Its worker was late to say so. It gets what there is, from a border on.
		c.cursor = v.Boundary(v.Tail)
		first, moved = v.First, true
	}
	f.open.add(c)
	f.opened++
	return first, moved
}

// removeConn takes c out. If that moves another one to where the pass in progress
// has been already, the pass sees to it at its end.
func (f *feed) removeConn(c *Conn) {
	slot := int(c.slot)
	f.opened--
	f.expiries.cancel(c)
	if moved := f.open.remove(c); moved != nil && f.passing.feed == f && slot < f.passed {
		f.missed = append(f.missed, moved)
	}
}

// flush writes c all of the log that it has not got. It is the whole of a
// broadcast: one look-up that nearly always hits, one system call.
func (f *feed) flush(c *Conn) {
	if c.cursor < f.look().Tail { // Lapped since it was looked at last.
		if f.lapped(c); c.phase != phaseOpen {
			return
		}
	}
	if c.out&outPending != 0 && !f.flushOutOfBand(c) {
		return
	}
	f.writeLog(c, f.view.Head)
}

// writeLog writes from the cursor to the offset to, and says whether it got
// there. If not, c is blocked or gone.
func (f *feed) writeLog(c *Conn, to uint64) bool {
	for c.cursor < to {
		if b := &f.batch; b.from != c.cursor || b.to != to || b.feed != f {
			f.fill(c.cursor, to)
		}
		n, ok := f.write(c, f.batch.pieces)
		if f.sent(c, n); uint64(n) == f.batch.to-f.batch.from {
			f.delivered += f.batch.frames
		} else {
			f.partly(c, n)
		}
		if !ok {
			return false
		}
	}
	return true
}

// partly counts what was delivered with the last n bytes before c's cursor.
func (f *feed) partly(c *Conn, n int) {
	if n > 0 {
		v := f.look()
		f.delivered += v.Ended(c.cursor) - v.Ended(c.cursor-uint64(n))
	}
}

// fill looks up the log from one offset to another, or as much of it as goes
// into one system call.
func (f *feed) fill(from, to uint64) {
	v := f.look()
	f.batch.pieces = v.Slices(f.batch.pieces[:0], from, to)
	f.batch.frames = v.Ended(to) - v.Ended(from)
	f.batch.feed, f.batch.from, f.batch.to = f, from, to
}

// reachOutOfBand writes the log up to where the next of what stands aside goes out, and says
// whether it got there. If that is the end of the connection, it begins the close
// handshake there, or before if the socket is full, and says no.
func (f *feed) reachOutOfBand(c *Conn, a *outOfBand) bool {
	at := a.at
	if !a.nothingPlaced() {
		at = a.first()
	}
	ok := c.cursor >= at || f.writeLog(c, min(at, f.look().Head))
	if ok && c.cursor < at {
		return false // The next pass sees further.
	}
	if a.why != 0 && c.phase == phaseOpen && (!ok || a.nothingPlaced()) {
		f.startClose(c, a.closing, a.why)
		return false
	}
	return ok
}

// finishFrame writes the rest of the frame that c is in.
func (f *feed) finishFrame(c *Conn) bool {
	v := f.look()
	if c.cursor >= v.Head {
		return true
	}
	if c.cursor < v.Tail { // Only while closing: flush has seen to open ones.
		c.abort()
		f.finish(c, c.why)
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

// betweenFrames says whether c has got whole frames so far.
func (f *feed) betweenFrames(c *Conn) bool {
	v := f.look()
	return v.Holds(c.cursor) && v.Boundary(c.cursor) == c.cursor
}

// lapped deals with a connection whose next bytes have left the log.
func (f *feed) lapped(c *Conn) {
	rest := c.cursor // Where the frame that it is in ends.
	prev := f.previousView()
	if prev.Holds(c.cursor) {
		rest = prev.Boundary(c.cursor)
	}
	if f.srv.cfg.Slow == SlowSkip && f.skip(c, rest) {
		return
	}
	if rest != c.cursor {
		c.abort()
		f.finish(c, ReasonSlow)
		return
	}
	c.cursor = noMore
	f.startClose(c, appendClose(nil, ws.StatusPolicyViolation, "too slow: messages were lost"), ReasonSlow)
}

// previousView is the log as the pass before saw it, or an empty view.
func (f *feed) previousView() *framelog.View {
	if f.passing.feed != f || f.prev == nil {
		return new(framelog.View)
	}
	return f.prev
}

// skip lets a lapped connection go on with the newest frame, when the one that
// it is in, up to rest, is out. It says no if that is too much to keep.
func (f *feed) skip(c *Conn, rest uint64) bool {
	n := int(rest - c.cursor)
	if f.kept+n > f.srv.cfg.RetainBytes/8/f.srv.cfg.Shards {
		return false
	}
	if n > 0 {
		a := f.outOfBandOf(c)
		for at := c.cursor; at < rest; at = rest - uint64(n-len(a.sending)) {
			for _, b := range f.prev.Slices(make([][]byte, 0, maxPieces), at, rest) {
				a.sending = append(a.sending, b...)
			}
		}
		a.kept = n
		f.kept += n
	}
	v := f.look()
	newest := max(v.Frames-1, v.First) // What the last pass saw may be dropped by now.
	c.cursor = v.Seek(newest)
	f.noteGap(c, rest, newest)
	f.srv.total.skips.Add(1)
	return true
}

// noteGap says to who gets ids that it goes on with the frame newest, when it has got
// what lies below rest.
func (f *feed) noteGap(c *Conn, rest, newest uint64) {
	form := f.encoding.form
	if form.kind == formPlain {
		return
	}
	from := "-"
	if prev := f.previousView(); prev.Holds(rest) {
		n := prev.Number(rest)
		if n == newest {
			return // Nothing is missing.
		}
		from = string(form.appendID(nil, f.encoding.channel.idAt(n)))
	}
	a := f.outOfBandOf(c)
	if a.gapTo = f.encoding.channel.idAt(newest); a.gapFrom == "" { // Else it is one gap.
		a.gapFrom = from
	}
}
