package framelog

import "sync"

// Space is what logs take their segments from. It knows what all of them hold
// together, and bounds it: when it is more than the limit, the segments that
// were begun first are dropped, whichever log they are of. All methods may be
// called from any goroutine.
type Space struct {
	limit int64 // Immutable. 0 is none.

	mu     sync.Mutex // May be taken while a log's is held, and not the other way round.
	oldest *segment   // Guarded by mu: a list of all segments in logs, in the order in which they were begun.
	newest *segment   // Guarded by mu.
	bytes  int64      // Guarded by mu: what they take up.
	free   []*segment // Guarded by mu: of full size, without users. Left to the collector they would count as memory until its next cycle.
	unused int        // Guarded by mu: the least that free has held since Trim.
}

// segmentOverhead is what a segment takes up beside its bytes.
const segmentOverhead = 192

// NewSpace makes a Space whose logs hold limit bytes or little more; 0 for as
// much as each of them retains.
func NewSpace(limit int) *Space { return &Space{limit: int64(limit)} }

// Bytes is what the segments of all logs take up.
func (sp *Space) Bytes() int64 {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.bytes
}

// Trim gives the memory back that no log has needed since the call of Trim
// before. Without it, a Space keeps what was once needed: up to half as much
// again as the retention, if readers were far behind.
func (sp *Space) Trim() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	kept := len(sp.free) - sp.unused
	clear(sp.free[kept:])
	sp.free = sp.free[:kept]
	sp.unused = kept
}

// take makes a segment for a log, and says whether all hold too much now.
func (sp *Space) take(l *Log, base, first uint64, size int) (s *segment, over bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if n := len(sp.free) - 1; n >= 0 && size == maxSegment {
		s = sp.free[n]
		sp.free[n] = nil
		sp.free = sp.free[:n]
		sp.unused = min(sp.unused, n)
		s.clearMarks()
	} else {
		s = newSegment(size)
	}
	s.log, s.base, s.first, s.users = l, base, first, 1
	s.older = sp.newest
	if s.older != nil {
		s.older.newer = s
	} else {
		sp.oldest = s
	}
	sp.newest = s
	sp.bytes += s.cost()
	return s, sp.limit > 0 && sp.bytes > sp.limit
}

// dropped notes that a log does not hold s any more. Views may.
func (sp *Space) dropped(s *segment) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		sp.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		sp.newest = s.older
	}
	s.older, s.newer = nil, nil
	sp.bytes -= s.cost()
}

// giveBack takes a segment without users.
func (sp *Space) giveBack(s *segment) {
	if len(s.buf) != maxSegment {
		return
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.free = append(sp.free, s)
}

// evict makes logs drop what was begun first, until they hold no more than the
// limit. What is still to be offered stays: the next call tries again.
func (sp *Space) evict() {
	type victim struct {
		log *Log
		*segment
	}
	var few [16]victim
	sp.mu.Lock()
	victims := few[:0]
	excess := sp.bytes - sp.limit
	for s := sp.oldest; s != nil && excess > 0 && len(victims) < cap(victims); s = s.newer {
		victims = append(victims, victim{s.log, s}) // Its log is another one as soon as it is used again.
		excess -= s.cost()
	}
	sp.mu.Unlock()
	for _, v := range victims {
		v.log.evict(v.segment)
	}
}
