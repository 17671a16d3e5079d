package broadcast

import (
	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// SlowPolicy is what happens to a slow consumer: a connection that is lapped, because its peer did not read and the
// log has dropped its next bytes.
type SlowPolicy uint8

const (
	// SlowClose closes it: with status 1008 (RFC 6455, section 7.4.1) if its cursor is between two frames, and with a
	// reset if it is in the middle of one.
	SlowClose SlowPolicy = iota
	// SlowSkip finishes the frame that the connection is in the middle of, and continues with the newest message. The
	// rest of that frame must be kept; if all such rests would exceed an eighth of the retention, the connection is
	// closed as with SlowClose.
	SlowSkip
)

// applySlowPolicy applies the policy to c, whose next bytes have left the log.
func (f *feed) applySlowPolicy(c *Conn) {
	s := f.shard
	rest := c.cursor // Where the frame that c is in the middle of ends.
	prev := f.previousView()
	if prev.Holds(c.cursor) {
		rest = prev.Boundary(c.cursor)
	}
	if s.srv.cfg.Slow == SlowSkip && f.skip(c, rest) {
		return
	}
	if rest != c.cursor { // A close frame inside another frame would be read as its payload.
		c.abort()
		s.finish(c, ReasonSlow)
		return
	}
	c.cursor = noMore
	s.startClose(c, appendClose(nil, ws.StatusPolicyViolation, "too slow: messages were lost"), ReasonSlow)
}

// previousView returns the log as the previous pass saw it, or an empty view.
func (f *feed) previousView() *framelog.View {
	if f.shard.passing.feed != f || f.shard.prev == nil {
		return new(framelog.View)
	}
	return f.shard.prev
}

// skip moves a lapped connection to the newest frame. The rest of the frame that c is in the middle of, up to the
// offset rest, is copied and goes out first. skip returns false if too many bytes are kept already.
func (f *feed) skip(c *Conn, rest uint64) bool {
	s := f.shard
	n := int(rest - c.cursor)
	if s.kept+n > s.srv.cfg.RetainBytes/8/s.srv.cfg.Shards {
		return false
	}
	if n > 0 {
		a := s.outOfBandOf(c)
		for at := c.cursor; at < rest; at = rest - uint64(n-len(a.sending)) {
			for _, b := range s.prev.Slices(make([][]byte, 0, maxPieces), at, rest) {
				a.sending = append(a.sending, b...)
			}
		}
		a.kept = n
		s.kept += n
	}
	v := f.look()
	newest := max(v.Frames-1, v.First) // The log may have dropped the newest frame of the last pass by now.
	c.cursor = v.Seek(newest)
	f.noteGap(c, rest, newest)
	s.srv.total.skips.Add(1)
	return true
}

// noteGap makes c's gap line ready if c gets IDs: c has received everything below the offset rest, and continues with
// the frame whose number is newest.
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
	a := f.shard.outOfBandOf(c)
	if a.gapTo = f.encoding.channel.idAt(newest); a.gapFrom == "" { // Otherwise the two gaps become one.
		a.gapFrom = from
	}
}
