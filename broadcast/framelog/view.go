package framelog

import (
	"slices"
	"sync/atomic"
)

// Reader stands for somebody who offers the log's bytes to a group of
// sockets. What it has not offered is not dropped.
type Reader struct {
	log     *Log
	offered atomic.Uint64 // Written by the reader, read by the log.
}

// Load copies the log's state into v, which may be the zero View or one used
// before. It does not move what is offered.
func (r *Reader) Load(v *View) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	v.release()
	v.log = l
	v.segs = append(v.segs[:0], l.segs...)
	for _, s := range v.segs {
		s.users++
	}
	v.Tail, v.Head = l.segs[0].base, l.head.Load()
	v.Last, v.Frames = l.last, l.frames
}

// Offered says that everything below to, an offset not above the head, has
// been written to all sockets of the group that would take it.
func (r *Reader) Offered(to uint64) { r.offered.Store(to) }

// Close makes the log forget the reader.
func (r *Reader) Close() {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = slices.DeleteFunc(l.readers, func(o *Reader) bool { return o == r })
}

// View is the state of a log at one moment. It stays readable whatever is
// appended or dropped later, and holds on to its segments until it is loaded
// anew or Reset. It is for one goroutine at a time.
type View struct {
	Tail   uint64 // The oldest byte held.
	Head   uint64 // After the newest byte.
	Last   uint64 // Where the newest frame starts.
	Frames uint64 // How many frames lie below Head, dropped ones included.

	segs []*segment
	log  *Log // nil if v is empty.
}

// Reset makes v empty and lets go of the segments.
func (v *View) Reset() {
	if l := v.log; l != nil {
		l.mu.Lock()
		v.release()
		l.mu.Unlock()
	}
	*v = View{segs: v.segs[:0]}
}

// release lets go of the segments. The log's mutex must be held.
func (v *View) release() {
	for _, s := range v.segs {
		v.log.release(s)
	}
	clear(v.segs)
}

// Holds says whether the byte at off can be read, or off is the head.
func (v *View) Holds(off uint64) bool { return v.Tail <= off && off <= v.Head }

// Slices appends to dst the bytes from offset from to offset to, at most as
// many pieces as dst has room for, so it does not allocate. The pieces are
// borrowed: they may be read while v is not loaded anew, and never written.
// from must be held and not above to.
func (v *View) Slices(dst [][]byte, from, to uint64) [][]byte {
	for i := v.find(from); from < to && len(dst) < cap(dst); i++ {
		s := v.segs[i]
		b := s.buf[from-s.base : min(s.end(), to)-s.base]
		dst = append(dst, b)
		from += uint64(len(b))
	}
	return dst
}

// find returns the index of the segment that holds off, from the newest
// backwards because most cursors are near the head. If off is the head it may
// be one past the last segment.
func (v *View) find(off uint64) int {
	i := len(v.segs) - 1
	if off >= v.segs[i].end() {
		return i + 1
	}
	for v.segs[i].base > off {
		i--
	}
	return i
}

// Boundary returns the first frame start at or above off, or Head if there is
// none below it. So off is a boundary if the result is off itself, and what
// lies between the two is the rest of a frame. off must be held.
func (v *View) Boundary(off uint64) uint64 {
	if off >= v.Head {
		return v.Head
	}
	at, ok := v.start(off)
	if !ok {
		// The frame that off is in starts below the tail. The first frame start
		// that is held is the one after it.
		return v.firstStart()
	}
	for at < off {
		at += uint64(v.log.frameLen(v.header(at)))
	}
	return at
}

// start returns a frame start at or below off and near it, if one is held.
func (v *View) start(off uint64) (at uint64, ok bool) {
	for i := v.find(off); i >= 0; i-- {
		s := v.segs[i]
		last := min(off, s.end()-1) - s.base
		for k := int(last / markEvery); k >= 0; k-- {
			if m := uint64(s.marks[k].Load()); m != 0 && m-1 <= last {
				return s.base + m - 1, true
			}
		}
	}
	return 0, false
}

// firstStart returns the first frame start that is held, or Head.
func (v *View) firstStart() uint64 {
	for _, s := range v.segs {
		for k := range s.marks {
			if m := uint64(s.marks[k].Load()); m != 0 {
				return min(s.base+m-1, v.Head)
			}
		}
	}
	return v.Head
}

// header returns the first bytes of the frame at at, for a FrameLen.
func (v *View) header(at uint64) []byte {
	i := v.find(at)
	s := v.segs[i]
	b := s.buf[at-s.base : min(s.end(), v.Head)-s.base]
	if len(b) >= headerBytes || s.end() >= v.Head {
		return b
	}
	// The header goes on in the next segment, which is at least minSegment long.
	next := v.segs[i+1].buf[:min(v.Head-s.end(), headerBytes)]
	return append(append(make([]byte, 0, 2*headerBytes), b...), next...)
}
