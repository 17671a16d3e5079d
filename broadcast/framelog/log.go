package framelog

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Segments start small, so that a quiet log is cheap, and double up to maxSegment bytes. A segment has one mark for
// every markEvery bytes.
const (
	minSegment = 256
	maxSegment = 256 << 10
	markEvery  = 1 << 10
)

// headerBytes is the least number of bytes that a FrameLen gets, unless the frame is shorter. The header of an unmasked
// WebSocket frame has at most 10 bytes (RFC 6455, section 5.2).
const headerBytes = 16

// FrameLen returns the length in bytes, at least 1, of the frame that b begins with. b is borrowed until FrameLen
// returns; it has at least the first 16 bytes of the frame, or all of it. Any goroutine may call it.
type FrameLen func(b []byte) int

// segment is a piece of a log. While a Log or a View holds it, its bytes below Log.head are immutable; only Append
// writes those above.
type segment struct {
	// Immutable while it is in use.
	log   *Log
	base  uint64 // The offset of buf[0].
	first uint64 // The number of the first frame that starts in it, or that would start in it.
	buf   []byte
	begun int64 // The time of Space.now when the log began it.

	users int   // Guarded by Log.mu: how many hold it, the log and views.
	last  int64 // Guarded by Log.mu: the time of Space.now when the last frame was appended to it.

	// marks[k] describes the first frame that starts within the k-th markEvery bytes, or is 0 if none does: the low 32
	// bits are its position in buf plus 1, the high 32 bits its number minus first. With marks, the time to find a
	// boundary or a number does not depend on the segment's size. Atomic: written by Append, read by View, which
	// ignores marks at or above its head.
	marks []atomic.Uint64

	next         *segment // Guarded by Log.mu: the next segment of the log.
	older, newer *segment // Guarded by Space.mu: neighbours in the list of all segments in logs.
}

func newSegment(size int) *segment {
	return &segment{buf: make([]byte, size), marks: make([]atomic.Uint64, max(1, size/markEvery))}
}

func (s *segment) clearMarks() {
	for i := range s.marks {
		s.marks[i].Store(0)
	}
}

// cost returns the memory that s takes, in bytes.
func (s *segment) cost() int64 { return int64(len(s.buf)) + segmentOverhead }

// mark records that the frame with this number starts at position i of buf.
func (s *segment) mark(i int, number uint64) {
	if m := &s.marks[i/markEvery]; m.Load() == 0 {
		m.Store((number-s.first)<<32 | uint64(i+1)) // Pairs with the loads in View.
	}
}

// readMark returns the offset and the number of the frame that mark k describes. It returns false if there is none.
func (s *segment) readMark(k int) (off, number uint64, ok bool) {
	m := s.marks[k].Load()
	return s.base + m&(1<<32-1) - 1, s.first + m>>32, m != 0
}

// Config has the settings that several logs share. It must not be changed after the first Init with it.
type Config struct {
	// Retain is how many bytes a log keeps at least, unless Space drops them for lack of room or because of their age.
	// When everything was offered, a log keeps less than one segment (256 KiB) more.
	Retain int
	// FrameLen returns the length of a frame. It must be set.
	FrameLen FrameLen
	// Space supplies the segments. It must be set.
	Space *Space
}

// Log is an append-only log of frames. Init makes the zero value ready; after that the Log must not be copied. Its
// methods are safe for concurrent use, and block only while another goroutine copies a frame.
type Log struct {
	cfg *Config // Immutable after Init.

	head atomic.Uint64 // Written under mu by Append, read by anyone.

	mu             sync.Mutex
	frames         uint64   // Guarded by mu: the number of the next frame.
	oldest, newest *segment // Guarded by mu: a list in the order of offsets, without gaps.
	offered        uint64   // Guarded by mu: see Offered.
}

// Init makes l an empty log. Its first frame will be at offset head and have the number frames.
func (l *Log) Init(cfg *Config, head, frames uint64) {
	l.cfg = cfg
	l.head.Store(head)
	l.frames = frames
	l.offered = NoReaders
}

// Head returns the offset after the newest byte. It does not block.
func (l *Log) Head() uint64 { return l.head.Load() }

// Tail returns the offset of the oldest byte held, or Head if the log is empty.
func (l *Log) Tail() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest == nil {
		return l.head.Load()
	}
	return l.oldest.base
}

// Frames returns the number of the next frame: how many were appended, plus the number that Init was given.
func (l *Log) Frames() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames
}

// First returns the number of the first frame that is held, or Frames if none is.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest == nil {
		return l.frames
	}
	return l.oldest.first
}

// Stat is a log's state at one moment.
type Stat struct {
	First, Frames uint64  // As in View.
	Rate          float64 // Frames per second, lately.
}

// Stat returns the log's state. Rate is measured over roughly the duration lately before now, from the beginning of a
// segment, or over a shorter time if the log holds less.
func (l *Log) Stat(lately time.Duration) (st Stat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.First, st.Frames = l.frames, l.frames
	if l.oldest == nil {
		return st
	}
	st.First = l.oldest.first
	since := l.oldest
	now := l.cfg.Space.now.Load()
	for s := since; s != nil && now-s.begun >= int64(lately); s = s.next {
		since = s
	}
	if passed := time.Duration(now - since.begun); passed > 0 {
		st.Rate = float64(l.frames-since.first) / max(passed, lately).Seconds()
	}
	return st
}

// Empty reports whether the log holds no frame.
func (l *Log) Empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest == nil
}

// NoReaders is the argument of Offered for a log without readers: everything counts as offered.
const NoReaders = math.MaxUint64

// Offered records that all bytes below the offset to were written to every socket that would take them. Bytes that were
// not offered are not dropped.
func (l *Log) Offered(to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offered = to
}

// Append adds a frame, the concatenation of header and payload, which are copied. It returns the frame's number, and
// how many bytes of the log were not offered yet. The frame must not be empty. Append allocates only when a segment
// is full.
func (l *Log) Append(header, payload []byte) (number, lag uint64) {
	number, lag, over := l.append(header, payload)
	if over {
		l.cfg.Space.Evict()
	}
	return number, lag
}

func (l *Log) append(header, payload []byte) (number, lag uint64, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head.Load()
	s, room, over := l.writable(head, len(header)+len(payload))
	s.mark(len(s.buf)-len(room), l.frames)
	s.last = l.cfg.Space.now.Load()
	number = l.frames
	l.frames++
	for _, b := range [2][]byte{header, payload} {
		for len(b) > 0 {
			if len(room) == 0 {
				var more bool
				_, room, more = l.writable(head, len(b))
				over = over || more
			}
			n := copy(room, b)
			b, room = b[n:], room[n:]
			head += uint64(n)
		}
	}
	l.head.Store(head) // Pairs with the loads in Head and Load.
	l.drop(head)
	return number, head - min(head, l.offered), over
}

// writable returns the newest segment and the free rest of its buffer, which is not empty: if the newest segment is
// full or sealed, writable adds one for n bytes or more. It reports whether that takes the Space over its limit. mu
// must be held.
func (l *Log) writable(head uint64, n int) (s *segment, room []byte, over bool) {
	size := max(minSegment, 1<<bits.Len(uint(2*n-1)))
	last := l.newest
	if s = last; s != nil {
		if room := s.buf[head-s.base:]; len(room) > 0 && !l.cfg.Space.sealed(s) {
			return s, room, false
		}
		size = max(size, 1<<bits.Len(uint(head-s.base)))
	}
	s, over = l.cfg.Space.allocate(l, head, l.frames, min(size, maxSegment))
	if l.newest = s; last != nil {
		last.next = s
	} else {
		l.oldest = s
	}
	return s, s.buf, over
}

// release drops one reference to s, and returns s to the Space with the last one. mu must be held.
func (l *Log) release(s *segment) {
	if s.users--; s.users == 0 {
		l.cfg.Space.recycle(s)
	}
}

// Clear drops all frames, offered or not. It is for a log that no longer has readers.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.oldest != nil {
		l.dropOldest()
	}
}

// Skip makes the next frame's number one higher. The log must be empty and without readers.
func (l *Log) Skip() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames++
}

// drop drops the segments that lie before the retention and were offered. mu must be held.
func (l *Log) drop(head uint64) {
	for s := l.oldest.next; s != nil && s.base <= l.offered && head-s.base >= uint64(l.cfg.Retain); s = s.next {
		l.dropOldest()
	}
}

// evict drops s if it is the oldest segment of l, was offered, and got its last frame at or before a time. It reports
// whether it did.
func (l *Log) evict(s *segment, before time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest != s || s.last > int64(before) {
		return false
	}
	head := l.head.Load()
	end := head
	if s.next != nil {
		end = s.next.base
	}
	if end > l.offered {
		return false
	}
	l.dropOldest()
	return true
}

// dropOldest drops the oldest segment. mu must be held.
func (l *Log) dropOldest() {
	s := l.oldest
	if l.oldest = s.next; l.oldest == nil {
		l.newest = nil
	}
	s.next = nil
	l.cfg.Space.unlink(s)
	l.release(s)
}

// Lag returns how many bytes at the head of the log were not offered yet.
func (l *Log) Lag() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head.Load()
	return head - min(head, l.offered)
}
