package broadcast

import "bytes"

// pongs is answers to pings that wait to be sent: frames, each with its place among
// the messages. The zero value is empty. It must not be
// copied.
type pongs struct {
	frames []byte
	runs   []pongRun
	inline [1]pongRun // Nearly always all there are.
}

// pongRun is frames that go out at one place in the log.
type pongRun struct {
	at uint64 // The log must be written up to there, if the socket takes it.
	n  int    // bytes
}

// What may wait for one connection: ten of the largest, and a little. Only the newest ping
// needs an answer, RFC 6455, section 5.5.3.
const (
	maxPongBytes = 1280
	maxPongRuns  = 16
)

// add adds frames, which are copied. If they are too many, older ones are left out; if
// there are too many places, they go out later.
func (p *pongs) add(at uint64, frames []byte) {
	if len(p.frames)+len(frames) > maxPongBytes {
		p.clear()
	}
	p.frames = append(p.frames, frames...)
	if last := len(p.runs) - 1; last >= 0 && (p.runs[last].at >= at || last == maxPongRuns-1) {
		p.runs[last].at = max(p.runs[last].at, at)
		p.runs[last].n += len(frames)
		return
	}
	if p.runs == nil {
		p.runs = p.inline[:0]
	}
	p.runs = append(p.runs, pongRun{at, len(frames)})
}

// addAll adds all of q.
func (p *pongs) addAll(q *pongs) {
	frames := q.frames
	for _, r := range q.runs {
		p.add(r.at, frames[:r.n])
		frames = frames[r.n:]
	}
}

// keepNewest leaves all out but the newest frame, and lets go of the memory.
func (p *pongs) keepNewest() {
	rest, at := p.frames, p.last()
	for n := 0; n < len(rest); n = 2 + int(rest[1]) { // Control frames have no longer header.
		rest = rest[n:]
	}
	p.frames = bytes.Clone(rest)
	p.runs = append(p.inline[:0], pongRun{at, len(rest)})
}

func (p *pongs) empty() bool { return len(p.runs) == 0 }

func (p *pongs) clear() { p.frames, p.runs = p.frames[:0], p.runs[:0] }

// first is where the oldest go out, last where the newest do. There must be some.
func (p *pongs) first() uint64 { return p.runs[0].at }

func (p *pongs) last() uint64 { return p.runs[len(p.runs)-1].at }

// take appends the oldest to dst and forgets them.
func (p *pongs) take(dst []byte) []byte {
	n := p.runs[0].n
	dst = append(dst, p.frames[:n]...)
	p.frames = p.frames[:copy(p.frames, p.frames[n:])]
	p.runs = p.runs[:copy(p.runs, p.runs[1:])]
	return dst
}
