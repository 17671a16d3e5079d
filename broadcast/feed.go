package broadcast

import (
	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// feed is a shard's part of one encoding: the connections that get its bytes,
// and the log as they see it. It is the shard's, like all that it has.
type feed struct {
	*shard   // Immutable.
	encoding *encoding
	reader   *framelog.Reader
	open     connList
	passed   int // How far the pass in progress is in open, 0 between passes.
	batch    batch
	view     framelog.View // The log as this pass sees it.
	prev     framelog.View // As the pass before saw it; empty between passes.
	missed   []*Conn       // Moved to a place that the pass in progress has behind it.
	last     uint64        // The head when the drain began: what was published before goes out.
}

// batch is the bytes of the log that a run of connections gets: nearly all
// stand at the same cursor, so they are looked up once.
type batch struct {
	from, to uint64
	pieces   [][]byte
}

func newFeed(s *shard, e *encoding) *feed {
	return &feed{
		shard:    s,
		encoding: e,
		reader:   e.log.NewReader(),
		batch:    batch{pieces: make([][]byte, 0, maxPieces)},
	}
}

// load takes a new view of the log. The one before is kept until the pass is
// over: a lapped connection's frame ends there.
func (f *feed) load() {
	f.view, f.prev = f.prev, f.view
	f.reader.Load(&f.view)
	f.batch.from, f.batch.to = 0, 0
}

// inboxEvery is after how many connections a pass looks into the inbox. At a
// million a pass takes seconds, and a close or a ping should not.
const inboxEvery = 64

// pass brings every connection that can be written to the log's head.
func (f *feed) pass() {
	f.load()
	// A pong that was posted before a message was published leaves before it.
	f.readInbox()
	head, tail := f.view.Head, f.view.Tail
	for f.passed = 0; f.passed < len(f.open); {
		i := f.passed
		c := f.open[i]
		switch {
		case c.cursor >= head:
		case c.out == 0 && c.cursor == f.batch.from && f.batch.to == head:
			// Nearly always. It is flush without its calls, each of which would be a
			// cache miss when the kernel comes back.
			n, errno := f.sockets.send(int(c.fd), f.batch.pieces)
			if f.sent(c, n); errno != 0 && !f.refused(c, errno) {
				break
			}
			if c.cursor < head {
				f.flush(c)
			}
		case c.out&outBlocked == 0:
			f.flush(c)
		case c.cursor < tail:
			f.lapped(c)
		}
		if i%inboxEvery == 0 && f.inbox.waiting.Load() {
			f.readInbox()
		}
		// Unless c was taken out and another is in its place.
		if f.passed < len(f.open) && f.open[f.passed] == c {
			f.passed++
		}
	}
	for n := len(f.missed); n > 0; n = len(f.missed) {
		c := f.missed[n-1]
		f.missed[n-1] = nil
		f.missed = f.missed[:n-1]
		if c.phase != phaseOpen || c.cursor >= head {
			continue
		}
		if c.out&outBlocked == 0 {
			f.flush(c)
		} else if c.cursor < tail {
			f.lapped(c)
		}
	}
	f.passed = 0
	f.prev.Reset()
}

// join makes a connection get what is published from its cursor on.
func (f *feed) join(c *Conn) {
	if c.cursor < f.view.Tail {
		// Its worker was late to say so. It gets what there is, from a border on.
		c.cursor = f.view.Boundary(f.view.Tail)
	}
	f.open.add(c)
}

// leave takes c out. If that moves another one to where the pass in progress
// has been already, the pass sees to it at its end.
func (f *feed) leave(c *Conn) {
	slot := int(c.slot)
	if moved := f.open.remove(c); moved != nil && slot < f.passed {
		f.missed = append(f.missed, moved)
	}
}

// flush writes c all of the log that it has not got. It is the whole of a
// broadcast: one look-up that nearly always hits, one system call.
func (f *feed) flush(c *Conn) {
	if c.cursor < f.view.Tail { // Lapped since it was looked at last.
		if f.lapped(c); c.phase != phaseOpen {
			return
		}
	}
	if c.out&outAside != 0 && !f.flushAside(c) {
		return
	}
	f.writeLog(c, f.view.Head)
}

// writeLog writes from the cursor to the offset to, and says whether it got
// there. If not, c is blocked or gone.
func (f *feed) writeLog(c *Conn, to uint64) bool {
	for c.cursor < to {
		b := &f.batch
		if b.from != c.cursor || b.to != to {
			f.fill(c.cursor, to)
		}
		n, ok := f.write(c, b.pieces)
		if f.sent(c, n); !ok {
			return false
		}
	}
	return true
}

// fill looks up the log from one offset to another, or as much of it as goes
// into one system call.
func (f *feed) fill(from, to uint64) {
	f.batch.from, f.batch.to = from, to
	f.batch.pieces = f.view.Slices(f.batch.pieces[:0], from, to)
}

// reach writes the log up to where the next of what stands aside goes out, and says
// whether it got there. If that is the end of the connection, it begins the close
// handshake there, or before if the socket is full, and says no.
func (f *feed) reach(c *Conn, a *aside) bool {
	at := a.at
	if !a.pongs.empty() {
		at = a.pongs.first()
	}
	ok := c.cursor >= at || f.writeLog(c, min(at, f.view.Head))
	if ok && c.cursor < at {
		return false // The next pass sees further.
	}
	if a.why != 0 && c.phase == phaseOpen && (!ok || a.pongs.empty()) {
		f.startClose(c, a.closing, a.why)
		return false
	}
	return ok
}

// finishFrame writes the rest of the frame that c is in.
func (f *feed) finishFrame(c *Conn) bool {
	if c.cursor >= f.view.Head {
		return true
	}
	if c.cursor < f.view.Tail { // Only while closing: flush has seen to open ones.
		c.abort()
		f.finish(c, c.why)
		return false
	}
	if !f.writeLog(c, f.view.Boundary(c.cursor)) {
		return false
	}
	if c.phase == phaseClosing {
		c.cursor = noMore
	}
	return true
}

// betweenFrames says whether c has got whole frames so far.
func (f *feed) betweenFrames(c *Conn) bool {
	return f.view.Holds(c.cursor) && f.view.Boundary(c.cursor) == c.cursor
}

// lapped deals with a connection whose next bytes have left the log.
func (f *feed) lapped(c *Conn) {
	rest := c.cursor // Where the frame that it is in ends.
	if f.prev.Holds(c.cursor) {
		rest = f.prev.Boundary(c.cursor)
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

// skip lets a lapped connection go on with the newest frame, when the one that
// it is in, up to rest, is out. It says no if that is too much to keep.
func (f *feed) skip(c *Conn, rest uint64) bool {
	n := int(rest - c.cursor)
	if f.kept+n > f.srv.cfg.RetainBytes/8/f.srv.cfg.Shards {
		return false
	}
	if n > 0 {
		a := f.asideOf(c)
		for at := c.cursor; at < rest; at = rest - uint64(n-len(a.sending)) {
			for _, b := range f.prev.Slices(make([][]byte, 0, maxPieces), at, rest) {
				a.sending = append(a.sending, b...)
			}
		}
		a.kept = n
		f.kept += n
	}
	c.cursor = f.view.Last
	f.srv.total.skips.Add(1)
	return true
}
