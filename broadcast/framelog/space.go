package framelog

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Space is what logs take their segments from. It knows what all of them hold
// together, and bounds it: when it is more than the limit, the segments that
// were begun first are dropped, whichever log they are of. It can also drop what
// is old. All methods may be called from any goroutine.
type Space struct {
	// Immutable. 0 is none.
	limit int64
	age   time.Duration

	now   atomic.Int64 // A time.Duration: what Advance was told last.
	bytes atomic.Int64 // Written under mu: what the segments in logs take up.
	taken atomic.Int64 // The same, and those that are in views only.
	used  atomic.Int64 // How many those of taken are.

	mu     sync.Mutex // May be taken while a log's is held, and not the other way round.
	oldest *segment   // Guarded by mu: a list of all segments in logs, in the order in which they were begun.
	newest *segment   // Guarded by mu.
	free   []*segment // Guarded by mu: of full size, without users. Left to the collector they would count as memory until its next cycle.
	unused int        // Guarded by mu: the least that free has held since Trim.
}

// segmentOverhead is what a segment takes up beside its bytes, and a part of what
// belongs to its log.
const segmentOverhead = 400

// sealings is how many segments an age is spread over, at least: what is in one is
// dropped together.
const sealings = 8

// NewSpace makes a Space whose logs hold limit bytes or little more; 0 for as
// much as each of them retains. What is older than age is dropped by Expire; 0 is any
// age.
func NewSpace(limit int, age time.Duration) *Space { return &Space{limit: int64(limit), age: age} }

// Bytes is what the segments of all logs take up. What is still to be offered, and
// no more, may make it more than the limit.
func (sp *Space) Bytes() int64 { return sp.bytes.Load() }

// Taken is what the segments of all logs take up, and those that logs have dropped and that
// are in a view yet.
func (sp *Space) Taken() int64 { return sp.taken.Load() }

// Charge counts what is kept beside the segments of logs, as if it were one of them.
func (sp *Space) Charge(bytes int64) {
	sp.taken.Add(bytes)
	sp.bytes.Add(bytes)
}

// Segments is how many there are of which Taken is the size.
func (sp *Space) Segments() int64 { return sp.used.Load() }

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
	s.begun = sp.now.Load()
	s.last = s.begun
	s.older = sp.newest
	if s.older != nil {
		s.older.newer = s
	} else {
		sp.oldest = s
	}
	sp.newest = s
	sp.taken.Add(s.cost())
	sp.used.Add(1)
	now := sp.bytes.Add(s.cost())
	return s, sp.limit > 0 && now > sp.limit
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
	sp.bytes.Add(-s.cost())
}

// giveBack takes a segment without users.
func (sp *Space) giveBack(s *segment) {
	taken := sp.taken.Add(-s.cost())
	sp.used.Add(-1)
	if len(s.buf) != maxSegment {
		return
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if free := int64(len(sp.free)+1) * maxSegment; sp.limit > 0 && taken+free > sp.limit {
		return
	}
	sp.free = append(sp.free, s)
}

// sealed says whether a segment is too old to be added to.
func (sp *Space) sealed(s *segment) bool {
	return sp.age > 0 && sp.now.Load()-s.begun >= int64(sp.age/sealings)
}

// Advance says what time it is, on any clock that only goes forward.
func (sp *Space) Advance(now time.Duration) { sp.now.Store(int64(now)) }

// Expire drops what is older than the age. A frame is dropped when it is an eighth of the
// age older, at the latest, and Expire is called.
func (sp *Space) Expire() {
	if sp.age == 0 {
		return
	}
	now := time.Duration(sp.now.Load())
	var victims []victim
	sp.mu.Lock()
	for s := sp.oldest; s != nil && s.begun <= int64(now-sp.age); s = s.newer {
		victims = append(victims, victim{s.log, s})
	}
	sp.mu.Unlock()
	for _, v := range victims {
		v.log.evict(v.segment, now-sp.age)
	}
}

// victim is a segment, and whose it was: that is another's as soon as it is used again.
type victim struct {
	log *Log
	*segment
}

// Evict makes logs drop what was begun first, until they hold no more than the limit.
// What is still to be offered stays. Append calls it, so nobody else needs to but who
// keeps others from calling Append.
func (sp *Space) Evict() {
	for sp.limit > 0 && sp.bytes.Load() > sp.limit && sp.evictSome() {
	}
}

// evictSome is one step of Evict. It says whether anything was dropped.
func (sp *Space) evictSome() (dropped bool) {
	var few [16]victim
	victims := few[:0]
	sp.mu.Lock()
	excess := sp.bytes.Load() - sp.limit
	for s := sp.oldest; s != nil && excess > 0 && len(victims) < cap(victims); s = s.newer {
		victims = append(victims, victim{s.log, s})
		excess -= s.cost()
	}
	sp.mu.Unlock()
	for _, v := range victims {
		dropped = v.log.evict(v.segment, math.MaxInt64) || dropped
	}
	return dropped
}
