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
//   - A segment is not dropped before every Reader has offered it. So a cursor
//     can be lapped only after its reader had a chance to write it out.
//
// # Files
//
//   - log.go: Log, Append, dropping
//   - view.go: View, Reader, frame boundaries
//
// # Glossary
//
//   - head: the offset after the newest byte.
//   - tail: the offset of the oldest byte held.
//   - cursor: the offset of the next byte that somebody is to get.
//   - offered: written to everyone who would take it.
//   - boundary: an offset at which a frame starts, or the head.
package framelog

import (
	"sync"
	"sync/atomic"
)

// Segments start small, so that a quiet log is cheap, and double up to
// maxSegment. Each has a mark for every markEvery bytes.
const (
	minSegment = 4 << 10
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

// segment is a piece of the log. While it is in the log or in a View, bytes
// below Log.head are immutable; those above belong to Append.
type segment struct {
	base uint64 // The offset of buf[0]. Changes only in reuse.
	buf  []byte // Immutable slice header; its length is the segment's size.

	users int // Guarded by Log.mu: the log and the views that hold it.

	// marks[k] is one more than the position in buf of the first frame start
	// within the k-th markEvery bytes, or 0 if there is none. It makes finding
	// a boundary independent of the segment's size. Atomic: written by Append,
	// read by View.start, which knows to ignore marks at or above its head.
	marks []atomic.Uint32
}

func newSegment(base uint64, size int) *segment {
	return &segment{base: base, users: 1, buf: make([]byte, size), marks: make([]atomic.Uint32, size/markEvery)}
}

// reuse makes s, which nobody uses, a new segment.
func (s *segment) reuse(base uint64) *segment {
	s.base, s.users = base, 1
	for i := range s.marks {
		s.marks[i].Store(0)
	}
	return s
}

func (s *segment) end() uint64 { return s.base + uint64(len(s.buf)) }

// mark notes that a frame starts at position i.
func (s *segment) mark(i int) {
	if m := &s.marks[i/markEvery]; m.Load() == 0 {
		m.Store(uint32(i) + 1) // Pairs with the loads in View.start.
	}
}

// Log is an append-only log of frames. Make one with New. All methods may be
// called from any goroutine; none blocks but for the short time that another
// Append copies its frame.
type Log struct {
	// Immutable after construction.
	frameLen FrameLen
	retain   uint64

	head atomic.Uint64 // Written under mu by Append, read by anyone.

	// Guarded by mu.
	mu      sync.Mutex
	segs    []*segment // Never empty; in order, without gaps.
	last    uint64     // Where the newest frame starts.
	frames  uint64     // How many were ever appended.
	readers []*Reader
	free    []*segment // Of full size, without users. Left to the collector they would count as memory until its next cycle.
	unused  int        // The least that free has held since Trim.
}

// New makes an empty log that holds at least the last retain bytes and, at
// rest, less than retain plus one segment (256 KiB).
func New(retain int, frameLen FrameLen) *Log {
	return &Log{
		frameLen: frameLen,
		retain:   uint64(retain),
		segs:     []*segment{newSegment(0, minSegment)},
	}
}

// Head is the offset after the newest byte.
func (l *Log) Head() uint64 { return l.head.Load() }

// Append adds the frame made of header and payload, both copied, and returns
// how far the slowest Reader is now behind the head, in bytes. The frame must
// not be empty. It allocates only when a segment is full.
func (l *Log) Append(header, payload []byte) (lag uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head.Load()
	l.last = head
	l.frames++
	s := l.writable(head)
	s.mark(int(head - s.base))
	head = l.write(head, header)
	head = l.write(head, payload)
	l.head.Store(head) // Pairs with the loads in Head and Load.
	offered := l.offered(head)
	l.drop(head, offered)
	return head - offered
}

// write copies b to the offset head and returns the offset after it.
func (l *Log) write(head uint64, b []byte) uint64 {
	for len(b) > 0 {
		s := l.writable(head)
		n := copy(s.buf[head-s.base:], b)
		b = b[n:]
		head += uint64(n)
	}
	return head
}

// writable returns the newest segment, which is made if the last one is full.
func (l *Log) writable(head uint64) *segment {
	s := l.segs[len(l.segs)-1]
	if head < s.end() {
		return s
	}
	if n := len(l.free) - 1; n >= 0 {
		s = l.free[n].reuse(head)
		l.free[n] = nil
		l.free = l.free[:n]
		l.unused = min(l.unused, n)
	} else {
		s = newSegment(head, min(2*len(s.buf), maxSegment))
	}
	l.segs = append(l.segs, s)
	return s
}

// release says that a user lets go of s.
func (l *Log) release(s *segment) {
	s.users--
	if s.users == 0 && len(s.buf) == maxSegment {
		l.free = append(l.free, s)
	}
}

// Trim gives the memory back that the log has not needed since the call of
// Trim before. Without it, a log keeps what it once needed: up to half as much
// again as the retention, if readers were far behind.
func (l *Log) Trim() {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := len(l.free) - l.unused
	clear(l.free[kept:])
	l.free = l.free[:kept]
	l.unused = kept
}

// Clear drops all that is in the log, whether it was offered or not. It is for a
// log that nobody reads for now.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		l.release(s)
	}
	clear(l.segs)
	l.segs = append(l.segs[:0], newSegment(l.head.Load(), minSegment))
	clear(l.free)
	l.free = l.free[:0]
	l.unused = 0
}

// offered is the offset up to which every Reader has offered the log.
func (l *Log) offered(head uint64) uint64 {
	for _, r := range l.readers {
		head = min(head, r.offered.Load())
	}
	return head
}

// drop lets go of the segments that are neither within the retention nor
// still to be offered.
func (l *Log) drop(head, offered uint64) {
	n := 0
	for n < len(l.segs)-1 && l.segs[n].end() <= offered && head-l.segs[n].end() >= l.retain {
		n++
	}
	if n == 0 {
		return
	}
	for _, s := range l.segs[:n] {
		l.release(s)
	}
	kept := copy(l.segs, l.segs[n:])
	clear(l.segs[kept:])
	l.segs = l.segs[:kept]
}

// Lag is how far the slowest Reader is behind the head, in bytes.
func (l *Log) Lag() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head.Load()
	return head - l.offered(head)
}

// NewReader adds a Reader, which starts at the head. It must be closed for the
// log to forget it.
func (l *Log) NewReader() *Reader {
	r := &Reader{log: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.offered.Store(l.head.Load())
	l.readers = append(l.readers, r)
	return r
}
