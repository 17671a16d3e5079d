package broadcast

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast/framelog"
)

// shard is one goroutine that owns a part of the connections: only it writes to them, from the post of opened until
// it releases them in finish.
type shard struct {
	// Immutable after construction.
	srv     *Server
	index   int // In srv.shards.
	sockets sockets
	lobby   *feed         // The feed of connections that are not open yet. It has no encoding.
	wake    chan struct{} // Capacity 1: a wake-up that the shard has not seen yet.
	done    chan struct{} // Closed when run has returned.

	inbox inbox // Has a mutex of its own.
	watch watch // Atomic and owned fields of its own.

	// Atomic.
	slowest   atomic.Uint64 // Written by refresh, read by Server.Stats: the greatest lag of a blocked connection.
	lastRound atomic.Int64  // Written by round, read by Server.Stats: when the last round ended, after Server.started.
	stop      atomic.Bool   // Written by Server.stop, read by run.
	ticked    atomic.Bool   // Set by the server's clock, cleared by round.

	// Owned by the shard.
	writes    uint64 // Since count was last called, as are bytes and delivered.
	bytes     uint64
	delivered uint64   // Messages whose last byte the kernel has taken.
	closing   connList // Connections in the close handshake.
	feeds     []*feed  // The feeds with open connections.
	opened    int      // The number of open connections in all feeds.
	passing
	batch      batch
	touched    []*feed              // Feeds that have loaded their log, or lost a flag, since releaseViews.
	keptViews  map[*feed]uint64     // Feeds whose view releaseViews has kept; the value is passing.lag of the last pass.
	spareViews []*framelog.View     // Views for reuse.
	outOfBand  map[*Conn]*outOfBand // By connections with outPending.
	kept       int                  // Bytes in outOfBand that are copies of dropped frames: see feed.skip.
	one        [1][]byte            // The argument of writeBytes' sends, so that it is not allocated.
	starved    []*Conn              // Blocked for lack of kernel memory: no event will come, so the clock retries.
	sweep      sweep
	expiries   expiries
	drained    int // The number of connections that the drain has closed.
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

// wakeUp makes the shard run a round. Any goroutine may call it, and it does not block. All wake-ups before the next
// round count as one.
func (s *shard) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the shard's goroutine. Server.stop ends it by setting stop, and waits for done.
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

// round does everything that is due: passes, what was posted, and the clock's work.
func (s *shard) round() {
	s.runPasses(s.inbox.takeDue()...)
	if s.ticked.Swap(false) { // Pairs with the store in Server.onTick.
		s.tick()
	}
	s.runCalls()
	s.releaseViews()
	s.count()
	s.lastRound.Store(int64(time.Since(s.srv.started)))
}

// runCalls calls the functions that other goroutines have asked for.
func (s *shard) runCalls() {
	for _, f := range s.inbox.takeCalls() {
		f()
	}
}

// runPasses brings all connections of some feeds to the heads of their logs, and then records that they were offered
// everything up to there.
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
	// A connection whose opened was posted before this moment is in its feed's list before its place in the log is
	// offered, so the log cannot drop that place unnoticed.
	s.readInbox()
	for _, f := range feeds {
		f.encoding.setOffered(f.feed, f.view.Head)
		s.srv.caughtUp(f.encoding.channel)
	}
}

// releaseViews releases the views of logs in which no connection of this shard is blocked. Other feeds keep their
// view: it holds what a blocked connection still needs, whatever the log drops.
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

// refresh makes a pass for those feeds whose kept view holds bytes that the log has dropped. Without it, these bytes
// would stay in memory until somebody publishes in the channel.
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
		// A map's order is random, and runs of the simulation with the same seed must be the same.
		slices.SortFunc(late, func(a, b dueFeed) int { return cmp.Compare(a.slot, b.slot) })
		s.runPasses(late...)
	}
}

// newView returns an empty view, a spare one if there is any.
func (s *shard) newView() *framelog.View {
	if n := len(s.spareViews) - 1; n >= 0 {
		v := s.spareViews[n]
		s.spareViews = s.spareViews[:n]
		return v
	}
	return new(framelog.View)
}

// freeView empties v, which may be nil, and keeps it for newView.
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

// readInbox handles everything that was posted.
func (s *shard) readInbox() {
	posts := s.inbox.takePosts()
	s.watch.posts += uint64(len(posts))
	for i := range posts {
		p := &posts[i]
		s.handlePost(p)
		p.mail.recycle()
	}
}

// handlePost does what was posted about one connection, in the order in which the post kinds are declared.
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
		// Pongs and direct messages have places of their own, before messages that were published since.
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

// closeAt begins the close handshake once c has received the log up to the offset at, which includes what c itself
// has published. If c's socket is full, the close handshake begins at once. frame is copied.
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

// startClose begins the close handshake (RFC 6455, section 7.1.2): the close frame goes out as soon as possible, then
// the writing side is shut down (see receiver.mayStillPublish). The connection is released when the peer's stream has
// ended, or after CloseTimeout. frame is copied.
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

// noMore is the cursor of a connection that gets nothing more from the log.
const noMore = math.MaxUint64

// finish releases a connection. why counts only if the connection has no reason yet.
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

// finishAll releases all connections when the server stops. After run has returned, Server.stop calls finishAll again
// for what workers have posted since.
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

// count adds the shard's counters to the server's totals: once a round, not for each write.
func (s *shard) count() {
	if s.writes != 0 {
		s.srv.total.writes.Add(s.writes)
		s.srv.total.bytesOut.Add(s.bytes)
		s.srv.total.deliveries.Add(s.delivered)
		s.writes, s.bytes, s.delivered = 0, 0, 0
	}
}
