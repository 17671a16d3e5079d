package broadcast

import "bytes"

// placed holds frames that wait to be sent to one connection, each with its place among the messages. The zero value is
// empty. A placed must not be copied.
type placed struct {
	frames []byte
	runs   []placedRun
	inline [1]placedRun // Room for the usual case.
}

// placedRun describes frames that go out at one place in the log.
type placedRun struct {
	at    uint64 // The log must be written up to there, if the socket takes it.
	n     int    // bytes
	added int    // The number of calls that have added to it.
}

// appendRun records the place of the last bytes of frames, which were appended.
func (p *placed) appendRun(r placedRun) {
	if last := len(p.runs) - 1; last >= 0 && p.runs[last].at >= r.at {
		p.runs[last].absorb(r)
		return
	}
	if p.runs == nil {
		p.runs = p.inline[:0]
	}
	p.runs = append(p.runs, r)
}

// absorb adds o to r. Both go out at the later of their places.
func (r *placedRun) absorb(o placedRun) {
	r.at = max(r.at, o.at)
	r.n += o.n
	r.added += o.added
}

func (p *placed) empty() bool { return len(p.runs) == 0 }

func (p *placed) clear() { p.frames, p.runs = p.frames[:0], p.runs[:0] }

// first returns the place of the oldest frames, and last that of the newest. p must not be empty.
func (p *placed) first() uint64 { return p.runs[0].at }

func (p *placed) last() uint64 { return p.runs[len(p.runs)-1].at }

// takeFirst moves the oldest frames to the end of dst.
func (p *placed) takeFirst(dst []byte) []byte {
	n := p.runs[0].n
	dst = append(dst, p.frames[:n]...)
	p.frames = p.frames[:copy(p.frames, p.frames[n:])]
	p.runs = p.runs[:copy(p.runs, p.runs[1:])]
	return dst
}

// pongs holds answers to pings.
type pongs struct{ placed }

// maxPongBytes is how many bytes of pongs may wait for one connection: ten of the largest, and a little more. Only the
// newest ping needs an answer, RFC 6455, section 5.5.3.
const maxPongBytes = 1280

// maxPongRuns is how many places the pongs of one connection may have.
const maxPongRuns = 16

// appendFrames adds frames, which are copied. If there are too many bytes, older frames are dropped; if there are too
// many places, the frames go out later.
func (p *pongs) appendFrames(at uint64, frames []byte) {
	if len(p.frames)+len(frames) > maxPongBytes {
		p.clear()
	}
	p.frames = append(p.frames, frames...)
	if r := (placedRun{at, len(frames), 1}); len(p.runs) == maxPongRuns {
		p.runs[maxPongRuns-1].absorb(r)
	} else {
		p.appendRun(r)
	}
}

// addAll adds all of q.
func (p *pongs) addAll(q *pongs) {
	frames := q.frames
	for _, r := range q.runs {
		p.appendFrames(r.at, frames[:r.n])
		frames = frames[r.n:]
	}
}

// keepNewest drops all frames except the newest, and frees their memory.
func (p *pongs) keepNewest() {
	rest, at := p.frames, p.last()
	for n := 0; n < len(rest); n = 2 + int(rest[1]) { // Control frames have no longer header.
		rest = rest[n:]
	}
	p.frames = bytes.Clone(rest)
	p.runs = append(p.inline[:0], placedRun{at, len(rest), 1})
}
