package broadcast

import (
	"golang.org/x/sys/unix"
)

// sent moves c's cursor past what a send took.
func (s *shard) sent(c *Conn, n int) {
	c.cursor += uint64(n)
	s.writes++
	s.bytes += uint64(n)
}

// write makes one send and says how much the socket took, and whether the
// caller may go on. If not, the socket is full, and the loop will post
// writable, or c is gone. A short write counts as success: the next one brings
// EAGAIN.
func (s *shard) write(c *Conn, pieces [][]byte) (n int, ok bool) {
	n, errno := s.sockets.send(int(c.fd), pieces)
	return n, errno == 0 || s.refused(c, errno)
}

// refused deals with a send that failed, and says whether to try again.
func (s *shard) refused(c *Conn, errno unix.Errno) bool {
	switch errno {
	case unix.EINTR:
		return true
	case unix.EAGAIN:
		// The edge that ends this state may have come before anyone looked for
		// it. With wantOut set, the next one is not lost: so try once more.
		if !c.set(wantOut) {
			return true
		}
	case unix.ENOBUFS, unix.ENOMEM:
		s.starved = append(s.starved, c) // The clock tries again.
	default:
		s.finish(c, reasonFor(errno))
		return false
	}
	c.mark(outBlocked)
	return false
}

// resumeWrite goes on where EAGAIN stopped.
func (s *shard) resumeWrite(c *Conn) {
	c.unmark(outBlocked)
	switch c.phase {
	case phaseOpen:
		c.since = 0 // The peer has taken bytes: that is a sign of life.
		c.feed().flush(c)
	case phaseClosing:
		if c.out&outPending != 0 {
			s.flushOutOfBand(c)
		}
	}
}

// outOfBand is what a connection is to be sent beside messages, as long as its
// socket is full or it is in the middle of a frame. It is empty for all but a
// few, so it is not part of Conn.
type outOfBand struct {
	sending       []byte // Goes first, whole: c.cursor is at a boundary once it is out, unless pong or close waits for one.
	pongs         pongs
	direct        direct
	closing       []byte // A close frame: the last that is ever sent.
	at            uint64 // Where closing goes out, and why it does, if the close handshake has not begun yet.
	why           Reason
	closeSending  bool   // closing is in sending.
	peerClosed    bool   // The peer has sent its own close frame.
	gapFrom       string // Behind sending a gap is to be said, if it is not empty.
	gapTo         uint64
	kept          int // How much of sending counts in shard.kept.
	directCounted int // How much of sending is counted in direct.x.
}

// first is where the oldest of the pongs and direct messages go out, or 0 if there are none; last is where the
// newest do.
func (a *outOfBand) first() uint64 {
	switch {
	case a.pongs.empty() && a.direct.empty():
		return 0
	case a.direct.empty():
		return a.pongs.first()
	case a.pongs.empty():
		return a.direct.first()
	}
	return min(a.pongs.first(), a.direct.first())
}

func (a *outOfBand) last() (at uint64) {
	if !a.pongs.empty() {
		at = a.pongs.last()
	}
	if !a.direct.empty() {
		at = max(at, a.direct.last())
	}
	return at
}

// nothingPlaced reports whether there is neither a pong nor a direct message.
func (a *outOfBand) nothingPlaced() bool { return a.pongs.empty() && a.direct.empty() }

func (s *shard) outOfBandOf(c *Conn) *outOfBand {
	if c.out&outPending == 0 {
		c.mark(outPending)
		s.outOfBand[c] = &outOfBand{}
	}
	return s.outOfBand[c]
}

func (s *shard) dropOutOfBand(c *Conn) {
	if c.out&outPending != 0 {
		a := s.outOfBand[c]
		s.kept -= a.kept
		a.direct.uncount(a.directCounted)
		a.direct.discardAll()
		delete(s.outOfBand, c)
		c.unmark(outPending)
	}
}

// sendBeforeLog sends bytes that are not from the log, in front of it. c is not blocked
// and at a boundary. b is borrowed until it returns.
func (s *shard) sendBeforeLog(c *Conn, b []byte) {
	if s.sendOutOfBand(c, b) {
		c.feed().flush(c)
	}
}

// sendOutOfBand is say without the log behind it. It says whether all is out.
func (s *shard) sendOutOfBand(c *Conn, b []byte) bool {
	rest, ok := s.writeBytes(c, b)
	if !ok && c.phase != phaseNone {
		a := s.outOfBandOf(c)
		a.sending = append(a.sending, rest...)
	}
	return ok
}

// writeBytes writes b and returns what of it is left, and whether nothing is.
// If not, c is blocked or gone.
func (s *shard) writeBytes(c *Conn, b []byte) (rest []byte, ok bool) {
	ok = true
	for len(b) > 0 && ok {
		var n int
		s.one[0] = b
		n, ok = s.write(c, s.one[:])
		b = b[n:]
	}
	s.one[0] = nil
	return b, ok
}

// sendPongs sends answers to pings, now or when it can. p is copied.
func (s *shard) sendPongs(c *Conn, p *pongs) {
	if c.out == 0 && c.cursor >= p.last() {
		s.sendBeforeLog(c, p.frames)
		return
	}
	a := s.outOfBandOf(c)
	a.pongs.addAll(p)
	if c.out&outBlocked != 0 {
		a.pongs.keepNewest() // It does not read, and is owed no memory.
		return
	}
	c.feed().flush(c)
}

// flushOutOfBand sends what stands aside, with the rest of the frame that c is in
// before it, and says whether all of it is out.
func (s *shard) flushOutOfBand(c *Conn) bool {
	a := s.outOfBand[c]
	for {
		var ok bool
		if a.sending, ok = s.writeBytes(c, a.sending); !ok {
			return false
		}
		if a.kept > 0 { // A copy of the rest of a frame.
			s.delivered++
			s.kept -= a.kept
			a.kept = 0
		}
		a.direct.uncount(a.directCounted)
		a.directCounted = 0
		if a.closeSending {
			if a.peerClosed || !c.mayStillPublish() {
				_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
			}
			s.dropOutOfBand(c)
			return false // Nothing may follow a close frame.
		}
		if a.gapFrom != "" {
			a.sending = c.feed().encoding.form.appendGap(a.sending[:0], a.gapFrom, a.gapTo)
			a.gapFrom = ""
			continue
		}
		if c.phase == phaseOpen && !c.feed().reachOutOfBand(c, a) {
			return false
		}
		if !c.feed().finishFrame(c) {
			return false
		}
		if !a.prepareNext() {
			s.dropOutOfBand(c)
			return true
		}
	}
}

// mayStillPublish says whether c, which is closing, may publish until its peer has seen the close frame. Then the writing
// side is shut down behind the peer's own close frame only: a proxy that sees the end of one direction ends the
// other, too, with what is in it.
func (c *Conn) mayStillPublish() bool {
	return c.why == ReasonShutdown && c.feed().encoding.form.kind != formEvents
}

// notePeerClose notes that the peer of c, which is closing, has sent its own close frame.
func (s *shard) notePeerClose(c *Conn) {
	switch {
	case c.out&outPending != 0:
		s.outOfBand[c].peerClosed = true
	case c.mayStillPublish():
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
}

// prepareNext makes the next direct messages, or control frame, what is to be sent.
func (a *outOfBand) prepareNext() bool {
	switch {
	case !a.direct.empty() && (a.pongs.empty() || a.direct.first() < a.pongs.first()):
		a.directCounted = a.direct.runs[0].n + a.direct.runs[0].added*directOverhead
		a.sending = a.direct.takeFirst(a.sending[:0])
	case !a.pongs.empty():
		a.sending = a.pongs.takeFirst(a.sending[:0])
	case len(a.closing) > 0:
		a.sending = a.closing
		a.closing, a.closeSending = nil, true
	default:
		return false
	}
	return true
}
