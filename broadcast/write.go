package broadcast

import (
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// flush writes c all of the log that it has not got. It is the whole of a
// broadcast: one look-up that nearly always hits, one system call.
func (s *shard) flush(c *Conn) {
	if c.cursor < s.view.Tail { // Lapped since it was looked at last.
		if s.lapped(c); c.phase != phaseOpen {
			return
		}
	}
	if c.out&outAside != 0 && !s.flushAside(c) {
		return
	}
	s.writeLog(c, s.view.Head)
}

// writeLog writes from the cursor to the offset to, and says whether it got
// there. If not, c is blocked or gone.
func (s *shard) writeLog(c *Conn, to uint64) bool {
	for c.cursor < to {
		b := &s.batch
		if b.from != c.cursor || b.to != to {
			s.fill(c.cursor, to)
		}
		n, ok := s.write(c, b.pieces)
		if s.sent(c, n); !ok {
			return false
		}
	}
	return true
}

// fill looks up the log from one offset to another, or as much of it as goes
// into one system call.
func (s *shard) fill(from, to uint64) {
	s.batch.from, s.batch.to = from, to
	s.batch.pieces = s.view.Slices(s.batch.pieces[:0], from, to)
}

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
	c.out |= outBlocked
	return false
}

// resume goes on where EAGAIN stopped.
func (s *shard) resume(c *Conn) {
	c.out &^= outBlocked
	switch c.phase {
	case phaseOpen:
		c.since = 0 // The peer has taken bytes: that is a sign of life.
		s.flush(c)
	case phaseClosing:
		if c.out&outAside != 0 {
			s.flushAside(c)
		}
	}
}

// aside is what a connection is to be sent beside messages, as long as its
// socket is full or it is in the middle of a frame. It is empty for all but a
// few, so it is not part of Conn.
type aside struct {
	sending []byte // Goes first, whole: c.cursor is at a boundary once it is out, unless pong or close waits for one.
	pong    []byte // Payload of the newest ping, if pinged.
	pinged  bool
	closing []byte // A close frame: the last that is ever sent.
	closed  bool   // closing is in sending.
	kept    int    // How much of sending counts in shard.kept.
}

func (s *shard) asideOf(c *Conn) *aside {
	if c.out&outAside == 0 {
		c.out |= outAside
		s.asides[c] = &aside{}
	}
	return s.asides[c]
}

func (s *shard) dropAside(c *Conn) {
	if c.out&outAside != 0 {
		s.kept -= s.asides[c].kept
		delete(s.asides, c)
		c.out &^= outAside
	}
}

// say sends bytes that are not from the log, in front of it. c is not blocked
// and at a boundary. b is borrowed until it returns.
func (s *shard) say(c *Conn, b []byte) {
	rest, ok := s.writeBytes(c, b)
	switch {
	case ok:
		s.flush(c)
	case c.phase != phaseNone:
		a := s.asideOf(c)
		a.sending = append(a.sending, rest...)
	}
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

// pong answers a ping, now or when it can. payload is copied.
func (s *shard) pong(c *Conn, payload []byte) {
	if c.out == 0 {
		s.say(c, appendFrame(s.control[:0], ws.OpPong, payload))
		return
	}
	a := s.asideOf(c)
	a.pong = append(a.pong[:0], payload...)
	a.pinged = true
	if c.out&outBlocked == 0 {
		s.flush(c)
	}
}

// flushAside sends what stands aside, with the rest of the frame that c is in
// before it, and says whether all of it is out.
func (s *shard) flushAside(c *Conn) bool {
	a := s.asides[c]
	for {
		var ok bool
		if a.sending, ok = s.writeBytes(c, a.sending); !ok {
			return false
		}
		s.kept -= a.kept
		a.kept = 0
		if a.closed {
			_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
			s.dropAside(c)
			return false // Nothing may follow a close frame.
		}
		if !s.finishFrame(c) {
			return false
		}
		if !a.next() {
			s.dropAside(c)
			return true
		}
	}
}

// finishFrame writes the rest of the frame that c is in.
func (s *shard) finishFrame(c *Conn) bool {
	if c.cursor >= s.view.Head {
		return true
	}
	if c.cursor < s.view.Tail { // Only while closing: flush has seen to open ones.
		c.abort()
		s.finish(c, c.why)
		return false
	}
	if !s.writeLog(c, s.view.Boundary(c.cursor)) {
		return false
	}
	if c.phase == phaseClosing {
		c.cursor = noMore
	}
	return true
}

// next makes the next control frame the one to be sent.
func (a *aside) next() bool {
	switch {
	case a.pinged:
		a.sending = appendFrame(a.sending[:0], ws.OpPong, a.pong)
		a.pinged = false
	case len(a.closing) > 0:
		a.sending = a.closing
		a.closing, a.closed = nil, true
	default:
		return false
	}
	return true
}
