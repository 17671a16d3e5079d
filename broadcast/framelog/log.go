// Package framelog is an append-only log of frames that many readers write
// out to sockets at their own pace.
//
// The log is a list of segments in memory. A frame is a run of bytes that
// must reach a socket whole; frames lie one behind the other and may go on
// from one segment into the next, so no byte of a segment is wasted. A place
// in the log is an absolute offset, the number of bytes appended before it,
// and is never used twice.
//
// The contract, in short:
//
//   - Append adds a frame at the head. Bytes once written never change while
//     anybody can see them.
//   - Old segments are dropped whole from the tail once more than the
//     retention lies behind them. A segment is used again when the last View
//     has let go of it, and not before.
//   - A reader copies the log's state into a View and may then read the bytes
//     from View.Tail to View.Head for as long as it likes, without a lock.
//   - A cursor below the tail is lapped: its bytes are gone.
//   - A segment is not dropped before it was offered. So a cursor can be lapped only
//     after somebody had a chance to write it out.
//   - A log in which nothing lies has no segment, and takes up a few words.
//
// # Files
//
//   - log.go: Log, Append, dropping
//   - space.go: Space, what all logs hold together
//   - view.go: View, frame boundaries
//
// # Glossary
//
//   - head: the offset after the newest byte.
//   - tail: the offset of the oldest byte held.
//   - cursor: the offset of the next byte that somebody is to get.
//   - offered: written to everyone who would take it.
//   - boundary: an offset at which a frame starts, or the head.
//   - number: how many frames were appended before this one.
package framelog

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Segments start small, so that a quiet log is cheap, and double up to
// maxSegment. Each has a mark for every markEvery bytes.
const (
	minSegment = 256
	maxSegment = 256 << 10
	markEvery  = 1 << 10
)

// headerBytes is how much of a frame's start a FrameLen is given, at least,
// unless the frame is shorter. A WebSocket frame's header has at most 10 bytes
// when it is not masked (RFC 6455, section 5.2).
const headerBytes = 16

// FrameLen tells the whole length in bytes, at least 1, of the frame that b
// begins with. b holds the frame's first headerBytes bytes or more, or all of
// it. It borrows b until it returns and is called by any reader at any time.
type FrameLen func(b []byte) int

// segment is a piece of a log. While it is in the log or in a View, bytes
// below Log.head are immutable; those above belong to Append.
type segment struct {
	// Immutable while it is in use.
	log   *Log
	base  uint64 // The offset of buf[0].
	first uint64 // The number of the first frame that starts in it, or would.
	buf   []byte
	begun int64 // Space.now

	users int   // Guarded by Log.mu: the log and the views that hold it.
	last  int64 // Guarded by Log.mu: Space.now when a frame came that starts in it.

	// marks[k] is the first frame start within the k-th markEvery bytes, or 0 if
	// there is none: one more than its position in buf, and above that, shifted by
	// 32 bits, how many frames after first it is. It makes finding a boundary or
	// a number independent of the segment's size. Atomic: written by Append, read
	// by View, which knows to ignore marks at or above its head.
	marks []atomic.Uint64

	next         *segment // Guarded by Log.mu: the log's next one.
	older, newer *segment // Guarded by Space.mu: all that are in logs.
}

func newSegment(size int) *segment {
	return &segment{buf: make([]byte, size), marks: make([]atomic.Uint64, max(1, size/markEvery))}
}

func (s *segment) clearMarks() {
	for i := range s.marks {
		s.marks[i].Store(0)
	}
}

// cost is what it takes up.
func (s *segment) cost() int64 { return int64(len(s.buf)) + segmentOverhead }

// mark notes that the frame of a number starts at position i.
func (s *segment) mark(i int, number uint64) {
	if m := &s.marks[i/markEvery]; m.Load() == 0 {
		m.Store((number-s.first)<<32 | uint64(i+1)) // Pairs with the loads in View.
	}
}

// at reads a mark: where a frame starts and its number.
func (s *segment) at(k int) (off, number uint64, ok bool) {
	m := s.marks[k].Load()
	return s.base + m&(1<<32-1) - 1, s.first + m>>32, m != 0
}

// Config is what several logs have in common. It must not be changed once a log
// has it.
type Config struct {
	// Retain is how many bytes a log holds at least, as soon as it has got as
	// many, unless Space has no room. At rest it holds less than one segment
	// (256 KiB) more.
	Retain int
	// FrameLen must be set.
	FrameLen FrameLen
	// Space must be set.
	Space *Space
}

// Log is an append-only log of frames. Init makes the zero value ready; it must
// not be copied then. All methods may be called from any goroutine; none blocks but
// for the short time that another Append copies its frame.
type Log struct {
	cfg *Config // Immutable after Init.

	head atomic.Uint64 // Written under mu by Append, read by anyone.

	mu             sync.Mutex
	frames         uint64   // Guarded by mu: the number of the next one.
	oldest, newest *segment // Guarded by mu: a list, in order, without gaps.
	offered        uint64   // Guarded by mu: see Offered.
}

// Init makes an empty log, whose first frame will be at the offset head and have
// the number frames.
func (l *Log) Init(cfg *Config, head, frames uint64) {
	l.cfg = cfg
	l.head.Store(head)
	l.frames = frames
	l.offered = NoReaders
}

// Head is the offset after the newest byte.
func (l *Log) Head() uint64 { return l.head.Load() }

// Tail is the offset of the oldest byte held.
func (l *Log) Tail() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest == nil {
		return l.head.Load()
	}
	return l.oldest.base
}

// Frames is how many frames were appended, and those before Init: the number of the
// next one.
func (l *Log) Frames() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames
}

// First is the number of the first frame that is held, or Frames.
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
	First, Frames uint64  // As of View.
	Rate          float64 // Frames a second lately.
}

// Stat returns the log's state. Rate is that of the time since the newest segment was begun
// which was begun that long ago, or since the oldest one was.
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

// Empty says whether nothing is held.
func (l *Log) Empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest == nil
}

// NoReaders is what is offered while there is nobody to offer it to.
const NoReaders = math.MaxUint64

// Offered says that everything below to has been written to all sockets that would take
// it. What has not been offered is not dropped.
func (l *Log) Offered(to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offered = to
}

// Append adds the frame made of header and payload, both copied, and returns its
// number, and how far what was offered is now behind the head, in bytes. The frame must
// not be empty. It allocates only when a segment is full.
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

// writable returns the newest segment and what is left of it, not nothing: if the
// last one is full it is a new one, made for n bytes or more. It says whether the
// Space is over its limit then.
func (l *Log) writable(head uint64, n int) (s *segment, room []byte, over bool) {
	size := max(minSegment, 1<<bits.Len(uint(2*n-1)))
	last := l.newest
	if s = last; s != nil {
		if room := s.buf[head-s.base:]; len(room) > 0 && !l.cfg.Space.sealed(s) {
			return s, room, false
		}
		size = max(size, 1<<bits.Len(uint(head-s.base)))
	}
	s, over = l.cfg.Space.take(l, head, l.frames, min(size, maxSegment))
	if l.newest = s; last != nil {
		last.next = s
	} else {
		l.oldest = s
	}
	return s, s.buf, over
}

// release says that a user lets go of s.
func (l *Log) release(s *segment) {
	if s.users--; s.users == 0 {
		l.cfg.Space.giveBack(s)
	}
}

// Clear drops all that is in the log, whether it was offered or not. It is for a
// log that nobody reads any more.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.oldest != nil {
		l.dropOldest()
	}
}

// Skip leaves out a number, in a log that is empty and that nobody reads.
func (l *Log) Skip() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames++
}

// drop lets go of the segments that are neither within the retention nor
// still to be offered.
func (l *Log) drop(head uint64) {
	for s := l.oldest.next; s != nil && s.base <= l.offered && head-s.base >= uint64(l.cfg.Retain); s = s.next {
		l.dropOldest()
	}
}

// evict drops s if it is the oldest segment, was offered, and got its last frame at a
// time or before. It says whether it did.
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

// dropOldest lets go of the oldest segment.
func (l *Log) dropOldest() {
	s := l.oldest
	if l.oldest = s.next; l.oldest == nil {
		l.newest = nil
	}
	s.next = nil
	l.cfg.Space.dropped(s)
	l.release(s)
}

// Lag is how far what was offered is behind the head, in bytes.
func (l *Log) Lag() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head.Load()
	return head - min(head, l.offered)
}
