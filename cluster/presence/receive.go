package presence

import (
	"strings"
	"time"
)

const (
	maxOthers   = 1024            // The most other servers.
	beatsMissed = 4               // After how many missing beats a server is forgotten.
	maxAsked    = 4               // How many servers are asked for a snapshot at a time.
	askAgain    = 3 * time.Second // How long a server may take to send a part before it is asked again.
)

// other is another server. Guarded by Presence.mu.
type other struct {
	counts  serverCounts
	conns   int           // In all channels, as its last beat says.
	every   time.Duration // From one of its beats to the next.
	heardAt time.Time     // When its last beat arrived.
	seq     uint32        // The number of that beat.

	complete bool      // See doc.go.
	minSeq   uint32    // If it is not complete: a snapshot after this beat makes it so.
	askedAt  time.Time // When it was asked for a snapshot, or sent the last part.
	arriving arriving
}

// arriving is a snapshot of which not all parts have arrived.
type arriving struct {
	on       bool
	number   uint32 // Of the snapshot.
	nextPart uint32
}

// receive handles a message of any server. It keeps no part of s.
func (p *Presence) receive(s string) {
	m, err := decode(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.logLocked("ignored a message of another server", "err", err)
		return
	}
	if m.from == p.id {
		return
	}
	o := p.others[m.from]
	switch {
	case m.kind == ask:
		if len(p.askers) < maxOthers {
			p.askers[strings.Clone(m.from)] = struct{}{}
		}
		p.wakeRun()
	case m.kind == beat:
		p.receiveBeatLocked(o, &m)
	case o == nil: // A server becomes known by its beats.
	case m.kind == bye:
		p.forgetLocked(m.from, o)
	case m.kind == snapshot:
		p.receivePartLocked(o, &m)
	}
}

// receiveBeatLocked handles a beat of o, which is nil if the server is not known. The mutex must be held.
func (p *Presence) receiveBeatLocked(o *other, m *message) {
	if o == nil {
		if len(p.others) == maxOthers {
			p.logLocked("ignored a server: there are too many", "limit", maxOthers)
			return
		}
		o = &other{seq: m.seq - 1, minSeq: m.seq - 1, counts: serverCounts{byChannel: make(map[*channel]count)}}
		p.others[strings.Clone(m.from)] = o
	}
	if m.seq <= o.seq {
		// A forged beat, or the one before was forged with a higher number: then o is soon forgotten with its counts.
		return
	}
	if m.seq != o.seq+1 {
		o.complete, o.minSeq, o.askedAt = false, m.seq-1, time.Time{}
	}
	o.seq, o.heardAt, o.every, o.conns = m.seq, time.Now(), m.every, m.conns
	p.applyCountsLocked(o, m)
	if !o.complete {
		p.wakeRun()
	}
}

// receivePartLocked handles a part of a snapshot. The mutex must be held.
func (p *Presence) receivePartLocked(o *other, m *message) {
	if o.complete || m.seq < o.minSeq {
		return // It is for another server, or too old.
	}
	if m.part == 0 {
		o.arriving = arriving{on: true, number: m.number}
	}
	if !o.arriving.on || m.number != o.arriving.number || m.part != o.arriving.nextPart {
		o.arriving.on = false
		return
	}
	o.arriving.nextPart++
	o.askedAt = time.Now()
	p.applyCountsLocked(o, m)
	if m.last {
		o.arriving.on, o.complete = false, true
		p.table.removeOlder(&o.counts, m.seq)
		p.wakeRun() // Another server may now be asked.
	}
}

// applyCountsLocked puts the counts of a message into the table. The mutex must be held.
func (p *Presence) applyCountsLocked(o *other, m *message) {
	for name, n := range m.counts.all() {
		p.table.set(&o.counts, name, n, m.seq, !o.complete)
	}
}

// expire forgets servers that have not been heard of for too long.
func (p *Presence) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, o := range p.others {
		if now.Sub(o.heardAt) > beatsMissed*o.every {
			p.forgetLocked(id, o)
		}
	}
	for _, o := range p.others {
		if o.counts.truncated && p.table.bytes < p.table.maxBytes*3/4 { // There is room now: ask for a snapshot.
			o.counts.truncated, o.complete, o.minSeq = false, false, o.seq
		}
	}
}

// forgetLocked forgets a server. The mutex must be held.
func (p *Presence) forgetLocked(id string, o *other) {
	p.table.removeAll(&o.counts)
	delete(p.others, id)
}

// serversToAsk returns the IDs of servers to ask for a snapshot now, and notes that they are asked.
func (p *Presence) serversToAsk(now time.Time) (ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := 0
	for _, o := range p.others {
		if !o.complete && now.Sub(o.askedAt) < askAgain {
			busy++
		}
	}
	for id, o := range p.others {
		if busy >= maxAsked {
			break
		}
		if !o.complete && now.Sub(o.askedAt) >= askAgain {
			o.askedAt = now
			ids = append(ids, id)
			busy++
		}
	}
	return ids
}

// logLocked logs a fault of another server, at most once a second. The mutex must be held.
func (p *Presence) logLocked(text string, args ...any) {
	if now := time.Now(); now.Sub(p.loggedAt) >= time.Second {
		p.loggedAt = now
		p.cfg.Logger.Warn(text, args...)
	}
}
