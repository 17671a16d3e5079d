package framelog

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Space supplies logs with segments, and bounds the memory that all of them take: above the limit, the segments that
// were begun first are dropped, whichever log holds them. It also drops segments by age. Its methods are safe for
// concurrent use.
type Space struct {
	// Immutable after construction. 0 means none.
	limit int64
	age   time.Duration

	now   atomic.Int64 // Written by Advance, a time.Duration.
	bytes atomic.Int64 // Written under mu: memory of the segments in logs.
	taken atomic.Int64 // Written by allocate, recycle and Charge: bytes, and the memory of segments that only views hold.
	used  atomic.Int64 // Written by allocate and recycle: how many segments taken counts.

	mu     sync.Mutex // May be locked while a log's is held, and never the other way round.
	oldest *segment   // Guarded by mu: a list of all segments in logs, in the order in which they were begun.
	newest *segment   // Guarded by mu.
	free   []*segment // Guarded by mu: of full size, without users. Garbage would count as memory until the next collection.
	unused int        // Guarded by mu: the fewest that free has held since Trim.
}

// segmentOverhead is the memory of a segment in addition to its buffer, with a share of its log's, in bytes.
const segmentOverhead = 400

// sealings is over how many segments an age is spread at least. A segment is dropped as a whole.
const sealings = 8

// NewSpace returns a Space whose logs together hold about limit bytes; with 0, each log holds its own retention. Expire
// drops frames that are older than age; with 0, frames of any age are kept.
func NewSpace(limit int, age time.Duration) *Space { return &Space{limit: int64(limit), age: age} }

// Bytes returns the memory of the segments of all logs. It exceeds the limit only by segments that were not offered
// yet.
func (sp *Space) Bytes() int64 { return sp.bytes.Load() }

// Taken returns the memory of the segments that logs or views hold.
func (sp *Space) Taken() int64 { return sp.taken.Load() }

// Charge counts memory that belongs to logs without being a segment. bytes may be negative.
func (sp *Space) Charge(bytes int64) {
	sp.taken.Add(bytes)
	sp.bytes.Add(bytes)
}

// Segments returns how many segments logs or views hold.
func (sp *Space) Segments() int64 { return sp.used.Load() }

// Trim frees the segments that no log has needed since the previous call of Trim. Without Trim, a Space keeps the
// memory of its busiest time: up to one and a half times the retention, if readers lagged far behind.
func (sp *Space) Trim() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	kept := len(sp.free) - sp.unused
	clear(sp.free[kept:])
	sp.free = sp.free[:kept]
	sp.unused = kept
}

// allocate returns a segment of size bytes for a log, and reports whether all logs together now exceed the limit.
func (sp *Space) allocate(l *Log, base, first uint64, size int) (s *segment, over bool) {
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

// unlink takes s out of the list: its log has dropped it. Views may still hold it.
func (sp *Space) unlink(s *segment) {
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

// recycle takes back a segment that nobody holds, and keeps it for reuse if it has the full size and there is room.
func (sp *Space) recycle(s *segment) {
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

// sealed reports whether a segment is too old to get more frames.
func (sp *Space) sealed(s *segment) bool {
	return sp.age > 0 && sp.now.Load()-s.begun >= int64(sp.age/sealings)
}

// Advance sets the time, on any clock that only goes forward.
func (sp *Space) Advance(now time.Duration) { sp.now.Store(int64(now)) }

// Expire drops segments whose frames are all older than the age. Each segment gets frames for an eighth of the age at
// most, so a frame may become that much older before it is dropped.
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

// victim is a segment and the log that held it when it was chosen. Another log may hold the segment by now.
type victim struct {
	log *Log
	*segment
}

// Evict drops the segments that were begun first, until all logs together hold no more than the limit or the rest was
// not offered yet. Append calls it. Others need to call it only if they keep publishers from calling Append.
func (sp *Space) Evict() {
	for sp.limit > 0 && sp.bytes.Load() > sp.limit && sp.evictSome() {
	}
}

// evictSome is one step of Evict. It reports whether anything was dropped.
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
