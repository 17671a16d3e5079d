package broadcast

import (
	"golang.org/x/sys/unix"
)

// sent moves c's cursor past the n bytes that a send has taken.
func (s *shard) sent(c *Conn, n int) {
	c.cursor += uint64(n)
	s.writes++
	s.bytes += uint64(n)
}

// write makes one send, and returns how many bytes the socket took and whether the caller may continue. If not,
// either c is blocked, and the loop will post writable, or c is gone. A short write counts as success: the next send
// returns EAGAIN. pieces are borrowed.
func (s *shard) write(c *Conn, pieces [][]byte) (n int, ok bool) {
	n, errno := s.sockets.send(int(c.fd), pieces)
	return n, errno == 0 || s.mayRetrySend(c, errno)
}

// mayRetrySend handles a failed send, and reports whether to try again. EAGAIN makes c blocked; ENOBUFS and ENOMEM
// make it starved.
func (s *shard) mayRetrySend(c *Conn, errno unix.Errno) bool {
	switch errno {
	case unix.EINTR:
		return true
	case unix.EAGAIN:
		// The socket may have become writable before wantOut was set, and epoll, being edge-triggered, reports that
		// only once. From now on the event is not lost, so try once more.
		if !c.set(wantOut) {
			return true
		}
	case unix.ENOBUFS, unix.ENOMEM:
		s.starved = append(s.starved, c) // See retry.
	default:
		s.finish(c, reasonFor(errno))
		return false
	}
	c.mark(outBlocked)
	return false
}

// resumeWrite continues writing to c, which is no longer blocked or is to be retried.
func (s *shard) resumeWrite(c *Conn) {
	c.unmark(outBlocked)
	switch c.phase {
	case phaseOpen:
		c.since = 0 // The peer has taken bytes, which is a sign of life.
		c.feed().flush(c)
	case phaseClosing:
		if c.out&outPending != 0 {
			s.flushOutOfBand(c)
		}
	}
}

// outOfBand is what a connection will be sent beside the log: pongs, direct messages, a close frame, or the rest of a
// partial greeting. A connection has it only while its socket is full or it is in the middle of a frame. Few
// connections have one, so it is not part of Conn. Owned by the shard.
type outOfBand struct {
	sending       []byte // Goes first, whole. Then c.cursor is at a boundary, unless a pong or close waits for one.
	pongs         pongs
	direct        direct
	closing       []byte // A close frame, the last frame that is ever sent.
	at            uint64 // The offset in the log where closing goes out, if the close handshake has not begun yet.
	why           Reason // The reason of closing; 0 if the close handshake has begun or there is none.
	closeSending  bool   // sending is the close frame.
	peerClosed    bool   // The peer has sent its own close frame.
	gapFrom       string // If not empty, a gap line from this ID to gapTo goes out after sending.
	gapTo         uint64
	kept          int // How many bytes of sending are counted in shard.kept.
	directCounted int // How many bytes of sending are counted in direct.x.
}

// first returns the place of the oldest pong or direct message, or 0 if there is none.
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

// last returns the place of the newest pong or direct message, or 0 if there is none.
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

// outOfBandOf returns c's outOfBand, made if it has none.
func (s *shard) outOfBandOf(c *Conn) *outOfBand {
	if c.out&outPending == 0 {
		c.mark(outPending)
		s.outOfBand[c] = &outOfBand{}
	}
	return s.outOfBand[c]
}

// dropOutOfBand discards c's outOfBand if it has one.
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

// sendBeforeLog sends bytes that are not from the log, and then the rest of the log. c must not be blocked, and must
// be at a boundary. b is borrowed.
func (s *shard) sendBeforeLog(c *Conn, b []byte) {
	if s.sendOutOfBand(c, b) {
		c.feed().flush(c)
	}
}

// sendOutOfBand sends bytes that are not from the log, and reports whether the socket took all of them. What it did
// not take is kept for later. c must not be blocked, and must be at a boundary. b is borrowed.
func (s *shard) sendOutOfBand(c *Conn, b []byte) bool {
	rest, ok := s.writeBytes(c, b)
	if !ok && c.phase != phaseNone {
		a := s.outOfBandOf(c)
		a.sending = append(a.sending, rest...)
	}
	return ok
}

// writeBytes writes b, and returns what is left of it and whether that is nothing. If bytes are left, c is blocked or
// gone. b is borrowed.
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

// sendPongs sends answers to pings, now or as soon as possible. p is copied.
func (s *shard) sendPongs(c *Conn, p *pongs) {
	if c.out == 0 && c.cursor >= p.last() {
		s.sendBeforeLog(c, p.frames)
		return
	}
	a := s.outOfBandOf(c)
	a.pongs.addAll(p)
	if c.out&outBlocked != 0 {
		a.pongs.keepNewest() // A peer that does not read gets no more memory than one pong needs (RFC 6455, section 5.5.3).
		return
	}
	c.feed().flush(c)
}

// flushOutOfBand sends c's out-of-band bytes, after the rest of the frame that c is in the middle of. It reports
// whether the socket took all of them and the log may follow.
func (s *shard) flushOutOfBand(c *Conn) bool {
	a := s.outOfBand[c]
	for {
		var ok bool
		if a.sending, ok = s.writeBytes(c, a.sending); !ok {
			return false
		}
		if a.kept > 0 { // sending began with the copied rest of a frame, which is out now.
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
			return false // Nothing may follow a close frame (RFC 6455, section 5.5.1).
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

// mayStillPublish reports whether c, which is closing, may publish until its peer has seen the close frame. If so,
// the writing side is shut down only after the peer's own close frame: a proxy that sees the end of one direction
// also ends the other one, and drops the messages in it.
func (r *receiver) mayStillPublish() bool {
	return r.why == ReasonShutdown && r.feed().encoding.form.kind != formEvents
}

// notePeerClose records that the peer of c, which is closing, has sent its own close frame.
func (s *shard) notePeerClose(c *Conn) {
	switch {
	case c.out&outPending != 0:
		s.outOfBand[c].peerClosed = true
	case c.mayStillPublish():
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
}

// prepareNext moves the next direct messages, pongs or close frame to sending. It returns false if there is nothing
// more.
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
