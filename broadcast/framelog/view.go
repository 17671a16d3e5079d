package framelog

// Load copies the log's state into v, and releases what v held before.
func (l *Log) Load(v *View) {
	if v.log != l {
		v.Reset()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v.release()
	v.log = l
	v.segs = v.segs[:0]
	for s := l.oldest; s != nil; s = s.next {
		v.segs = append(v.segs, s)
		s.users++
	}
	v.Head, v.Frames = l.head.Load(), l.frames
	v.Tail, v.First = v.Head, v.Frames
	if len(v.segs) > 0 {
		v.Tail, v.First = v.segs[0].base, v.segs[0].first
	}
}

// View is the state of a log at one moment. It stays readable whatever is appended or dropped later, and holds its
// segments until the next Load or Reset. The zero value is empty. A View may be used by one goroutine at a time.
type View struct {
	Tail   uint64 // The offset of the oldest byte held.
	Head   uint64 // The offset after the newest byte.
	First  uint64 // The number of the first frame whose start is held, or Frames.
	Frames uint64 // The number of the next frame.

	segs []*segment
	log  *Log // nil if v is empty.
}

// Reset releases the segments and makes v empty.
func (v *View) Reset() {
	if l := v.log; l != nil {
		l.mu.Lock()
		v.release()
		l.mu.Unlock()
	}
	*v = View{segs: v.segs[:0]}
}

// release releases the segments. The log's mutex must be held.
func (v *View) release() {
	for _, s := range v.segs {
		v.log.release(s)
	}
	clear(v.segs)
}

// Holds reports whether off is a position in v: the offset of a byte that is held, or Head.
func (v *View) Holds(off uint64) bool { return v.Tail <= off && off <= v.Head }

// Slices appends the bytes between the offsets from and to to dst, in pieces, as many as dst has capacity for: it
// does not allocate. The pieces are borrowed until the next Load or Reset, and must not be written. from must be held
// and not above to.
func (v *View) Slices(dst [][]byte, from, to uint64) [][]byte {
	for i := v.find(from); from < to && len(dst) < cap(dst); i++ {
		b := v.segs[i].buf[from-v.segs[i].base : min(v.end(i), to)-v.segs[i].base]
		dst = append(dst, b)
		from += uint64(len(b))
	}
	return dst
}

// end returns the offset after the last byte of the i-th segment.
func (v *View) end(i int) uint64 {
	if i+1 < len(v.segs) {
		return v.segs[i+1].base
	}
	return v.Head
}

// find returns the index of the segment that holds off, or -1 if v is empty. It begins with the newest segment, because
// most cursors are near the head.
func (v *View) find(off uint64) int {
	i := len(v.segs) - 1
	for i > 0 && v.segs[i].base > off {
		i--
	}
	return i
}

// Boundary returns the first boundary at or above off: the start of a frame, or Head. If it is not off itself, the
// bytes between the two are the rest of a frame. off must be held.
func (v *View) Boundary(off uint64) uint64 {
	if off >= v.Head {
		return v.Head
	}
	at, ok := v.start(off)
	if !ok {
		// The frame around off starts below the tail. The first start that is held belongs to the frame after it.
		return v.firstStart()
	}
	for at < off {
		at += uint64(v.log.cfg.FrameLen(v.header(at)))
	}
	return at
}

// start returns the start of a frame at or shortly below off. It returns false if none is held.
func (v *View) start(off uint64) (at uint64, ok bool) {
	for i := v.find(off); i >= 0; i-- {
		s := v.segs[i]
		last := min(off, v.end(i)-1)
		for k := int((last - s.base) / markEvery); k >= 0; k-- {
			if at, _, ok := s.readMark(k); ok && at <= last {
				return at, true
			}
		}
	}
	return 0, false
}

// firstStart returns the offset of the first frame whose start is held, or Head.
func (v *View) firstStart() uint64 {
	for _, s := range v.segs {
		for k := range s.marks {
			if at, _, ok := s.readMark(k); ok {
				return min(at, v.Head)
			}
		}
	}
	return v.Head
}

// Seek returns the offset at which the frame with a number starts: Head if it was not appended yet, and the first start
// that is held if it was dropped.
func (v *View) Seek(number uint64) uint64 {
	switch {
	case number >= v.Frames:
		return v.Head
	case number <= v.First:
		return v.firstStart()
	}
	i := len(v.segs) - 1
	for v.segs[i].first > number {
		i--
	}
	// A mark of this segment has the frame or one before it, because some frame with a number from first to number
	// starts here.
	s := v.segs[i]
	var at, n uint64
	for k := len(s.marks) - 1; ; k-- {
		var ok bool
		if at, n, ok = s.readMark(k); ok && n <= number {
			break
		}
	}
	for ; n < number; n++ {
		at += uint64(v.log.cfg.FrameLen(v.header(at)))
	}
	return at
}

// Number returns the number of the frame that starts at off, or Frames at Head. off must be held and a boundary.
func (v *View) Number(off uint64) uint64 {
	if off >= v.Head {
		return v.Frames
	}
	var at, n uint64
	for i := v.find(off); ; i-- {
		s := v.segs[i]
		for k := int((min(off, v.end(i)-1) - s.base) / markEvery); k >= 0; k-- {
			var ok bool
			if at, n, ok = s.readMark(k); ok && at <= off {
				for ; at < off; n++ {
					at += uint64(v.log.cfg.FrameLen(v.header(at)))
				}
				return n
			}
		}
	}
}

// Ended returns how many frames end at or below off, counted from number 0. off must be held.
func (v *View) Ended(off uint64) uint64 {
	at := v.Boundary(off)
	n := v.Number(at)
	if at > off {
		n-- // Without the frame around off.
	}
	return n
}

// Cut makes head the view's head, if it is below it. head must be held and a boundary.
func (v *View) Cut(head uint64) {
	if head < v.Head {
		v.Frames = v.Number(head)
		v.First = min(v.First, v.Frames)
		v.Head = head
	}
}

// Frame appends the frame that starts at off to dst. It returns dst and the offset of the next frame. off must be held.
func (v *View) Frame(dst []byte, off uint64) (frame []byte, next uint64) {
	next = off + uint64(v.log.cfg.FrameLen(v.header(off)))
	for i := v.find(off); off < next; i++ {
		b := v.segs[i].buf[off-v.segs[i].base : min(v.end(i), next)-v.segs[i].base]
		dst = append(dst, b...)
		off += uint64(len(b))
	}
	return dst, next
}

// header returns the first bytes of the frame that starts at at, for a FrameLen.
func (v *View) header(at uint64) []byte {
	i := v.find(at)
	end := v.end(i)
	b := v.segs[i].buf[at-v.segs[i].base : end-v.segs[i].base]
	if len(b) >= headerBytes || end >= v.Head {
		return b
	}
	// The header continues in the next segment, which has at least minSegment bytes.
	next := v.segs[i+1]
	rest := next.buf[:min(v.end(i+1)-next.base, headerBytes)]
	return append(append(make([]byte, 0, 2*headerBytes), b...), rest...)
}
