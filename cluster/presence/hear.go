package presence

import (
	"strings"
	"time"
)

const (
	// mostOthers is how many other servers there may be.
	mostOthers = 1024
	// beatsMissed is after how many beats that did not come a server is gone.
	beatsMissed = 4
	// mostAsked is how many servers are asked at a time, and askAgain how long one may take to send a part.
	mostAsked = 4
	askAgain  = 3 * time.Second
)

// other is another server.
type other struct {
	counted counted
	conns   int           // As it says, in all channels.
	every   time.Duration // From one beat to the next.
	heard   time.Time
	seq     uint32 // Of its last beat.

	whole bool      // No beat and nothing from before is missing in counted.
	least uint32    // Otherwise a snapshot behind this beat makes it whole.
	asked time.Time // When it was asked for one, or sent the last part.
	from  incoming
}

// incoming is a snapshot that comes.
type incoming struct {
	on           bool
	number, part uint32 // The part that is next.
}

// hear takes in a message that somebody has sent.
func (p *Presence) hear(s string) {
	m, err := decode(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.complain("a message between servers is left out", "why", err)
		return
	}
	if m.from == p.id {
		return
	}
	o := p.others[m.from]
	switch {
	case m.kind == ask:
		if len(p.askers) < mostOthers {
			p.askers[strings.Clone(m.from)] = struct{}{}
		}
		p.look()
	case m.kind == beat:
		p.heardBeat(o, &m)
	case o == nil: // Its beats come first.
	case m.kind == bye:
		p.forget(m.from, o)
	case m.kind == snapshot:
		p.heardPart(o, &m)
	}
}

// heardBeat takes in a beat of o, or of a server that is not known if that is nil. The mutex must be held.
func (p *Presence) heardBeat(o *other, m *message) {
	if o == nil {
		if len(p.others) == mostOthers {
			p.complain("a server is left out: there are too many", "most", mostOthers)
			return
		}
		o = &other{seq: m.seq - 1, least: m.seq - 1, counted: counted{of: make(map[*channel]count)}}
		p.others[strings.Clone(m.from)] = o
	}
	if m.seq <= o.seq {
		return // It is none of its own, or the one before was not: then o is forgotten soon, with what that said.
	}
	if m.seq != o.seq+1 {
		o.whole, o.least, o.asked = false, m.seq-1, time.Time{}
	}
	o.seq, o.heard, o.every, o.conns = m.seq, time.Now(), m.every, m.conns
	p.take(o, m)
	if !o.whole {
		p.look()
	}
}

// heardPart takes in a part of a snapshot. The mutex must be held.
func (p *Presence) heardPart(o *other, m *message) {
	if o.whole || m.seq < o.least {
		return // It was for somebody else, or was made too early.
	}
	if m.part == 0 {
		o.from = incoming{on: true, number: m.number}
	}
	if !o.from.on || m.number != o.from.number || m.part != o.from.part {
		o.from.on = false
		return
	}
	o.from.part++
	o.asked = time.Now()
	p.take(o, m)
	if m.last {
		o.from.on, o.whole = false, true
		p.table.sweep(&o.counted, m.seq)
		p.look() // There may be others to ask.
	}
}

// take takes in a message's counts. The mutex must be held.
func (p *Presence) take(o *other, m *message) {
	for name, n := range m.counts.all() {
		p.table.set(&o.counted, name, n, m.seq, !o.whole)
	}
}

// expire forgets servers that were not heard of for too long.
func (p *Presence) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, o := range p.others {
		if now.Sub(o.heard) > beatsMissed*o.every {
			p.forget(id, o)
		}
	}
	for _, o := range p.others {
		if o.counted.short && p.table.bytes < p.table.most*3/4 { // There may be room now.
			o.counted.short, o.whole, o.least = false, false, o.seq
		}
	}
}

// forget forgets a server. The mutex must be held.
func (p *Presence) forget(id string, o *other) {
	p.table.clear(&o.counted)
	delete(p.others, id)
}

// wanted is the ids of servers that are to be asked for a snapshot now.
func (p *Presence) wanted(now time.Time) (ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := 0
	for _, o := range p.others {
		if !o.whole && now.Sub(o.asked) < askAgain {
			busy++
		}
	}
	for id, o := range p.others {
		if busy >= mostAsked {
			break
		}
		if !o.whole && now.Sub(o.asked) >= askAgain {
			o.asked = now
			ids = append(ids, id)
			busy++
		}
	}
	return ids
}

// complain logs what somebody else did, at most once a second. The mutex must be held.
func (p *Presence) complain(what string, args ...any) {
	if now := time.Now(); now.Sub(p.said) >= time.Second {
		p.said = now
		p.cfg.Logger.Warn(what, args...)
	}
}
