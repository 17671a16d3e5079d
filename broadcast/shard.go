package broadcast

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast/framelog"
)

// shard is one goroutine that owns a part of the connections: it alone writes
// to them, from the post of opened until it lets go of them.
type shard struct {
	// Immutable after construction.
	srv     *Server
	index   int // In srv.shards.
	sockets sockets
	lobby   *feed         // Of connections that are not open yet. It feeds nothing.
	wake    chan struct{} // Capacity 1: a wake-up that was not yet seen.
	done    chan struct{} // Closed when run has returned.

	slowest   atomic.Uint64 // Written by refresh, read by Server.Stats.
	lastRound atomic.Int64  // Written by round, read by Server.Stats: when it was over, after Server.started.

	stop atomic.Bool // Written by Server.Shutdown, read by run.

	inbox  inbox
	watch  watch
	ticked atomic.Bool // Written by the server's clock, taken by run.

	// Owned by the shard.
	writes    uint64
	bytes     uint64
	delivered uint64 // Messages of which the last byte is out.
	closing   connList
	feeds     []*feed // Those with connections.
	opened    int     // The connections of all of them.
	passing
	batch      batch
	touched    []*feed          // Those that have looked at their log since settle.
	keptViews  map[*feed]uint64 // Those whose views settle has left them, and how far the slowest was behind in the last pass.
	spareViews []*framelog.View // That nobody uses.
	outOfBand  map[*Conn]*outOfBand
	kept       int       // Bytes in asides that are copies of dropped frames.
	one        [1][]byte // What writeBytes sends.
	starved    []*Conn   // Blocked by want of kernel memory: no event will come.
	sweep      sweep
	expiries   expiries
	drained    int // How many connections the drain has closed.
}

func newShard(srv *Server) *shard {
	s := &shard{
		srv:       srv,
		index:     len(srv.shards),
		sockets:   srv.cfg.sockets,
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
		outOfBand: make(map[*Conn]*outOfBand),
		keptViews: make(map[*feed]uint64),
		batch:     batch{pieces: make([][]byte, 0, maxPieces)},
	}
	s.lobby = &feed{shard: s}
	return s
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
	for range s.wake {
		if s.stop.Load() {
			break
		}
		s.round()
	}
	s.finishAll()
}

// round does all that there is to do.
func (s *shard) round() {
	s.runPasses(s.inbox.takeDue()...)
	if s.ticked.Swap(false) {
		s.tick()
	}
	s.runCalls()
	s.releaseViews()
	s.count()
	s.lastRound.Store(int64(time.Since(s.srv.started)))
}

// runCalls does what others ask for.
func (s *shard) runCalls() {
	for _, f := range s.inbox.takeCalls() {
		f()
	}
}

// runPasses brings all connections of some feeds to their logs' heads.
func (s *shard) runPasses(feeds ...dueFeed) {
	if len(feeds) == 0 {
		s.readInbox()
		return
	}
	began := time.Since(s.srv.started)
	for _, f := range feeds {
		s.watch.beginPass(f.feed, began)
		f.pass()
		ended := time.Since(s.srv.started)
		s.watch.endPass(f.feed, f.since, ended)
		s.srv.total.observePass(began, ended, f.since)
		began = ended
	}
	// What was posted before this moment is in its list before its place in the
	// log is offered, and so is not lapped unseen.
	s.readInbox()
	for _, f := range feeds {
		f.encoding.setOffered(f.feed, f.view.Head)
		s.srv.caughtUp(f.encoding.channel)
	}
}

// releaseViews lets go of the logs that nobody here is behind in. The others keep the view:
// what a connection with a full socket still gets is there, whatever is dropped.
func (s *shard) releaseViews() {
	for i, f := range s.touched {
		s.touched[i] = nil
		if f.offFastPath == 0 && f.view != nil {
			s.freeView(f.view)
			f.view = nil
			delete(s.keptViews, f)
		} else if _, kept := s.keptViews[f]; f.view != nil && !kept {
			s.keptViews[f] = 0
		}
	}
	s.touched = s.touched[:0]
	if cap(s.touched) > 1024 { // A storm is over: do not keep its memory.
		s.touched = nil
	}
	s.batch.feed = nil
}

// refresh makes a pass for those feeds that keep in view what their log has dropped: it
// would be held for as long as nobody publishes there.
func (s *shard) refresh() {
	slowest := uint64(0)
	var late []dueFeed
	for f, lag := range s.keptViews {
		slowest = max(slowest, lag)
		if f.encoding.log.Tail() > f.view.Tail {
			late = append(late, dueFeed{feed: f})
		}
	}
	s.slowest.Store(slowest)
	if len(late) > 0 {
		slices.SortFunc(late, func(a, b dueFeed) int { return cmp.Compare(a.slot, b.slot) }) // The map's order is random.
		s.runPasses(late...)
	}
}

func (s *shard) newView() *framelog.View {
	if n := len(s.spareViews) - 1; n >= 0 {
		v := s.spareViews[n]
		s.spareViews = s.spareViews[:n]
		return v
	}
	return new(framelog.View)
}

// freeView takes a view back, or nil.
func (s *shard) freeView(v *framelog.View) {
	if v == nil {
		return
	}
	if v.Reset(); len(s.spareViews) < 64 {
		s.spareViews = append(s.spareViews, v)
	}
}

// removeFeed takes out a feed without connections.
func (s *shard) removeFeed(f *feed) {
	last := len(s.feeds) - 1
	moved := s.feeds[last]
	s.feeds[f.slot-1], moved.slot = moved, f.slot
	s.feeds[last] = nil
	s.feeds = s.feeds[:last]
	f.slot = 0
}

// readInbox does what has been posted.
func (s *shard) readInbox() {
	posts := s.inbox.takePosts()
	s.watch.posts += uint64(len(posts))
	for i := range posts {
		p := &posts[i]
		s.handlePost(p)
		p.mail.recycle()
	}
}

func (s *shard) handlePost(p *post) {
	c := p.c
	if p.what&postOpened != 0 {
		c.phase = phaseOpen
		c.since = 0
		if first, moved := c.feed().addConn(c); moved {
			form, ch := c.feed().encoding.form, c.channel()
			p.mail.response = form.appendGap(p.mail.response, string(form.appendID(nil, ch.idAt(p.mail.begins))), ch.idAt(first))
		}
		if !p.mail.until.IsZero() {
			s.expiries.schedule(c, p.mail.until)
		}
		// Pongs and direct messages find their own places, before what was published since.
		if s.sendOutOfBand(c, p.mail.response) && p.what&(postPong|postDirect) == 0 {
			c.feed().flush(c)
		}
	}
	if p.what&postWritable != 0 && c.phase != phaseNone {
		s.resumeWrite(c)
	}
	if p.what&postPong != 0 && c.phase == phaseOpen {
		s.sendPongs(c, &p.mail.pongs)
	}
	if p.what&postDirect != 0 && c.phase == phaseOpen {
		s.sendDirect(c, &p.mail.direct)
	}
	if p.what&postClose != 0 {
		switch c.phase {
		case phaseOpen:
			s.closeAt(c, p.mail.closing, p.why, p.mail.at)
		case phaseClosing:
			s.notePeerClose(c)
		}
	}
	if p.what&postEnd != 0 && c.phase != phaseNone {
		s.finish(c, p.why)
	}
}

// closeAt begins the close handshake once c has got what it published itself, up to
// at. It gets that if its socket has room. frame is copied.
func (s *shard) closeAt(c *Conn, frame []byte, why Reason, at uint64) {
	if c.out&outPending != 0 {
		at = max(at, s.outOfBand[c].last())
	}
	if c.cursor >= at || c.out&outBlocked != 0 {
		s.startClose(c, frame, why)
		return
	}
	a := s.outOfBandOf(c)
	a.closing = append(a.closing[:0], frame...)
	a.why = why
	a.at = at
	c.feed().flush(c)
}

// startClose begins the close handshake, RFC 6455, section 7.1.2: the frame
// goes out as soon as it can, then the writing side is shut down (see Conn.mayStillPublish), and the
// connection is gone when the peer's stream has ended or after CloseTimeout.
// frame is copied.
func (s *shard) startClose(c *Conn, frame []byte, why Reason) {
	f := c.feed()
	f.removeConn(c)
	s.closing.add(c)
	c.phase = phaseClosing
	c.set(leaving)
	c.why = why
	c.since = s.srv.clock() + milliseconds(s.srv.cfg.CloseTimeout)
	if f.betweenFrames(c) {
		c.cursor = noMore
	}
	a := s.outOfBandOf(c)
	a.closing = append(a.closing[:0], f.encoding.form.closingBytes(frame)...)
	a.pongs.clear()
	a.direct.discardAll()
	if c.out&outBlocked == 0 {
		s.flushOutOfBand(c)
	}
}

// noMore is the cursor of a connection that gets nothing more of the log.
const noMore = math.MaxUint64

// finish lets go of a connection. why counts if it has no reason yet.
func (s *shard) finish(c *Conn, why Reason) {
	if c.phase == phaseClosing {
		s.closing.remove(c)
	} else {
		c.feed().removeConn(c)
	}
	c.phase = phaseNone
	s.dropOutOfBand(c)
	c.unmark(outBlocked)
	if c.why == 0 {
		c.why = why
	}
	s.srv.countOut(c)
	c.kill()
}

// finishAll lets go of everything when the server stops. Server.Shutdown calls
// it once more, when run has returned, for what workers posted since.
func (s *shard) finishAll() {
	s.readInbox()
	for len(s.closing) > 0 {
		s.finish(s.closing[len(s.closing)-1], ReasonShutdown)
	}
	for _, f := range slices.Clone(s.feeds) {
		for len(f.open) > 0 {
			s.finish(f.open[len(f.open)-1], ReasonShutdown)
		}
	}
	s.runCalls()
	s.releaseViews()
	s.count()
}

// count adds to the server's totals once a pass and not for each write.
func (s *shard) count() {
	if s.writes != 0 {
		s.srv.total.writes.Add(s.writes)
		s.srv.total.bytesOut.Add(s.bytes)
		s.srv.total.deliveries.Add(s.delivered)
		s.writes, s.bytes, s.delivered = 0, 0, 0
	}
}
