package broadcast

import (
	"math"
	"sync/atomic"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// shard is one goroutine that owns a part of the connections: it alone writes
// to them, from the post of opened until it lets go of them.
type shard struct {
	// Immutable after construction.
	srv     *Server
	sockets sockets
	reader  *framelog.Reader
	wake    chan struct{} // Capacity 1: a wake-up that was not yet seen.
	done    chan struct{} // Closed when run has returned.

	stop atomic.Bool // Written by Server.Shutdown, read by run.

	inbox  inbox
	ticked atomic.Bool // Written by the server's clock, taken by run.

	// Owned by the shard. What a pass needs for each connection stands together.
	open    connList
	passed  int // How far the pass in progress is in open.
	batch   batch
	writes  uint64
	bytes   uint64
	view    framelog.View // The log as this pass sees it.
	prev    framelog.View // As the pass before saw it; empty between passes.
	missed  []*Conn       // Moved to a place that the pass in progress has behind it.
	closing connList
	asides  map[*Conn]*aside
	kept    int                                     // Bytes in asides that are copies of dropped frames.
	one     [1][]byte                               // What writeBytes sends.
	control [2 + ws.MaxControlFramePayloadSize]byte // Where pong puts its frame together: one on the stack would escape.
	starved []*Conn                                 // Blocked by want of kernel memory: no event will come.
	sweep   sweep
	drained int // How many connections the drain has closed.
}

// batch is the bytes of the log that a run of connections gets: nearly all
// stand at the same cursor, so they are looked up once.
type batch struct {
	from, to uint64
	pieces   [][]byte
}

func newShard(srv *Server) *shard {
	return &shard{
		srv:     srv,
		sockets: srv.cfg.sockets,
		reader:  srv.log.NewReader(),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		asides:  make(map[*Conn]*aside),
		batch:   batch{pieces: make([][]byte, 0, maxPieces)},
	}
}

// wakeUp makes the shard look at the log and its inbox. Any goroutine; it does
// not block. All wake-ups before the shard comes round are one.
func (s *shard) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the shard's goroutine. Server.Shutdown sets stop to end it and waits
// for done.
func (s *shard) run() {
	defer close(s.done)
	s.load()
	for range s.wake {
		if s.stop.Load() {
			break
		}
		if s.srv.log.Head() != s.view.Head {
			s.pass()
		}
		// What was posted before this moment is in the list before its place in the
		// log is offered, and so is not lapped unseen.
		s.readInbox()
		s.reader.Offered(s.view.Head)
		s.srv.caughtUp()
		if s.ticked.Swap(false) {
			s.tick()
		}
		s.count()
	}
	s.finishAll()
}

// load takes a new view of the log. The one before is kept until the pass is
// over: a lapped connection's frame ends there.
func (s *shard) load() {
	s.view, s.prev = s.prev, s.view
	s.reader.Load(&s.view)
	s.batch.from, s.batch.to = 0, 0
}

// inboxEvery is after how many connections a pass looks into the inbox. At a
// million a pass takes seconds, and a close or a ping should not.
const inboxEvery = 64

// pass brings every connection that can be written to the log's head.
func (s *shard) pass() {
	s.load()
	head, tail := s.view.Head, s.view.Tail
	for s.passed = 0; s.passed < len(s.open); {
		i := s.passed
		c := s.open[i]
		switch {
		case c.cursor >= head:
		case c.out == 0 && c.cursor == s.batch.from && s.batch.to == head:
			// Nearly always. It is flush without its calls, each of which would be a
			// cache miss when the kernel comes back.
			n, errno := s.sockets.send(int(c.fd), s.batch.pieces)
			if s.sent(c, n); errno != 0 && !s.refused(c, errno) {
				break
			}
			if c.cursor < head {
				s.flush(c)
			}
		case c.out&outBlocked == 0:
			s.flush(c)
		case c.cursor < tail:
			s.lapped(c)
		}
		if i%inboxEvery == 0 && s.inbox.waiting.Load() {
			s.readInbox()
		}
		// Unless c was taken out and another is in its place.
		if s.passed < len(s.open) && s.open[s.passed] == c {
			s.passed++
		}
	}
	for n := len(s.missed); n > 0; n = len(s.missed) {
		c := s.missed[n-1]
		s.missed[n-1] = nil
		s.missed = s.missed[:n-1]
		if c.phase != phaseOpen || c.cursor >= head {
			continue
		}
		if c.out&outBlocked == 0 {
			s.flush(c)
		} else if c.cursor < tail {
			s.lapped(c)
		}
	}
	s.passed = 0
	s.prev.Reset()
}

// readInbox does what has been posted.
func (s *shard) readInbox() {
	posts := s.inbox.take()
	for i := range posts {
		p := &posts[i]
		s.attend(p)
		p.mail.free()
	}
}

func (s *shard) attend(p *post) {
	c := p.c
	if p.what&postOpened != 0 {
		c.phase = phaseOpen
		c.since = 0
		if c.cursor < s.view.Tail {
			// Its worker was late to say so. It gets what there is, from a border on.
			c.cursor = s.view.Boundary(s.view.Tail)
		}
		s.open.add(c)
		s.say(c, p.mail.response)
	}
	if p.what&postWritable != 0 && c.phase != phaseNone {
		s.resume(c)
	}
	if p.what&postPong != 0 && c.phase == phaseOpen {
		s.pong(c, p.mail.pong)
	}
	if p.what&postClose != 0 && c.phase == phaseOpen {
		s.startClose(c, p.mail.closing, p.why)
	}
	if p.what&postEnd != 0 && c.phase != phaseNone {
		s.finish(c, p.why)
	}
}

// startClose begins the close handshake, RFC 6455, section 7.1.2: the frame
// goes out as soon as it can, then the writing side is shut down, and the
// connection is gone when the peer's stream has ended or after CloseTimeout.
// frame is copied.
func (s *shard) startClose(c *Conn, frame []byte, why Reason) {
	s.leaveOpen(c)
	s.closing.add(c)
	c.phase = phaseClosing
	c.why = why
	c.since = s.srv.clock() + milliseconds(s.srv.cfg.CloseTimeout)
	if s.view.Holds(c.cursor) && s.view.Boundary(c.cursor) == c.cursor {
		c.cursor = noMore
	}
	a := s.asideOf(c)
	a.closing = append(a.closing[:0], frame...)
	a.pinged = false
	if c.out&outBlocked == 0 {
		s.flushAside(c)
	}
}

// noMore is the cursor of a connection that gets nothing more of the log.
const noMore = math.MaxUint64

// finish lets go of a connection. why counts if it has no reason yet.
func (s *shard) finish(c *Conn, why Reason) {
	if c.phase == phaseClosing {
		s.closing.remove(c)
	} else {
		s.leaveOpen(c)
	}
	c.phase = phaseNone
	s.dropAside(c)
	if c.why == 0 {
		c.why = why
	}
	s.srv.ended(c)
	c.kill()
}

// leaveOpen takes c out of the open list. If that moves another one to where
// the pass in progress has been already, the pass sees to it at its end.
func (s *shard) leaveOpen(c *Conn) {
	slot := int(c.slot)
	if moved := s.open.remove(c); moved != nil && slot < s.passed {
		s.missed = append(s.missed, moved)
	}
}

// lapped deals with a connection whose next bytes have left the log.
func (s *shard) lapped(c *Conn) {
	rest := c.cursor // Where the frame that it is in ends.
	if s.prev.Holds(c.cursor) {
		rest = s.prev.Boundary(c.cursor)
	}
	if s.srv.cfg.Slow == SlowSkip && s.skip(c, rest) {
		return
	}
	if rest != c.cursor {
		c.abort()
		s.finish(c, ReasonSlow)
		return
	}
	c.cursor = noMore
	s.startClose(c, appendClose(nil, ws.StatusPolicyViolation, "too slow: messages were lost"), ReasonSlow)
}

// skip lets a lapped connection go on with the newest frame, when the one that
// it is in, up to rest, is out. It says no if that is too much to keep.
func (s *shard) skip(c *Conn, rest uint64) bool {
	n := int(rest - c.cursor)
	if s.kept+n > s.srv.cfg.RetainBytes/8/s.srv.cfg.Shards {
		return false
	}
	if n > 0 {
		a := s.asideOf(c)
		for at := c.cursor; at < rest; at = rest - uint64(n-len(a.sending)) {
			for _, b := range s.prev.Slices(make([][]byte, 0, maxPieces), at, rest) {
				a.sending = append(a.sending, b...)
			}
		}
		a.kept = n
		s.kept += n
	}
	c.cursor = s.view.Last
	s.srv.total.skips.Add(1)
	return true
}

// finishAll lets go of everything when the server stops. Server.Shutdown calls
// it once more, when run has returned, for what workers posted since.
func (s *shard) finishAll() {
	s.readInbox()
	for _, l := range []*connList{&s.open, &s.closing} {
		for len(*l) > 0 {
			s.finish((*l)[len(*l)-1], ReasonShutdown)
		}
	}
	s.count()
}

// count adds to the server's totals once a pass and not for each write.
func (s *shard) count() {
	if s.writes != 0 {
		s.srv.total.writes.Add(s.writes)
		s.srv.total.bytesOut.Add(s.bytes)
		s.writes, s.bytes = 0, 0
	}
}
