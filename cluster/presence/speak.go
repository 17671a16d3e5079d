package presence

import "time"

const (
	// leastEvery is how often there is a beat, and beatPerServer how long it is at least for each server: a thousand
	// of them, each of which hears all others, are not to hear more than a hundred beats a second.
	leastEvery    = time.Second
	beatPerServer = 10 * time.Millisecond

	// mostParts is how many messages a beat may take. What is beyond it is said with the next one.
	mostParts = 64

	// stepBytes is how much of a snapshot is sent at once, and stepEvery when the next step is: other messages are
	// to come through as well.
	stepBytes = 512 << 10
	stepEvery = 50 * time.Millisecond
)

// speaker is what this server says. Owned by Presence.run.
type speaker struct {
	seq     uint32   // Of the last beat.
	changed []string // What has changed and was not said.
	buf     []byte

	snapshots uint32 // How many there were.
	snapshot  *sending
}

// sending is a snapshot that is being sent.
type sending struct {
	to          []string // Ids.
	names       []string // What is left of the channels.
	seq, number uint32
	part        uint32 // The next one.
}

// run speaks, until Close.
func (p *Presence) run() {
	ticks, steps := time.NewTicker(leastEvery), time.NewTimer(stepEvery)
	defer ticks.Stop()
	defer steps.Stop()
	every := p.every()
	p.beat(every)
	next := time.Now().Add(every)
	for {
		due := p.speaker.snapshot == nil
		select {
		case <-p.ctx.Done():
			_ = p.send(p.subject(toAll), appendHead(nil, bye, p.id)) // They will see it without.
			return
		case now := <-ticks.C:
			p.expire(time.Now())
			if now.Add(leastEvery / 2).After(next) {
				every = p.every()
				p.beat(every)
				next = now.Add(every)
			}
		case <-steps.C:
			due = true
		case <-p.wake:
		}
		p.askOthers(time.Now())
		if due && p.step() {
			steps.Reset(stepEvery)
		}
	}
}

// look has run look at what there is to do. It does not block.
func (p *Presence) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// every is how long it is to the next beat: whole seconds.
func (p *Presence) every() time.Duration {
	wait := time.Duration(p.Servers()) * beatPerServer
	return min(mostEvery, (max(wait, 1)+leastEvery-1)/leastEvery*leastEvery)
}

// beat says what has changed. What cannot be sent is missed by its number.
func (p *Presence) beat(every time.Duration) {
	s := &p.speaker
	for range mostParts {
		p.change()
		s.seq++
		b := appendHead(s.buf[:0], beat, p.id)
		b = appendNumbers(b, uint64(s.seq), uint64(every.Milliseconds()), uint64(max(0, p.src.Joined())))
		for most := p.most(); len(s.changed) > 0 && len(b) < most; {
			b = appendCount(b, s.changed[0], p.src.Count(s.changed[0]))
			s.changed = s.changed[1:]
			p.change()
		}
		s.buf = b
		if p.send(p.subject(toAll), b) != nil || len(s.changed) == 0 {
			return
		}
	}
}

// most is from how many bytes on nothing is added to a message: that has to be one that NATS takes, with another count and what is before
// them.
func (p *Presence) most() int {
	if p.nc == nil {
		return partBytes
	}
	return max(1, min(partBytes, int(p.nc.MaxPayload())-512))
}

// change sees to it that changed has names, if something has changed. If that is too much, a number is left out, so that others
// ask for all.
func (p *Presence) change() {
	s, many := &p.speaker, false
	if len(s.changed) > 0 {
		return
	}
	if s.changed, many = p.src.Changed(256); many {
		s.seq++
	}
}

// askOthers asks servers for snapshots.
func (p *Presence) askOthers(now time.Time) {
	for _, id := range p.wanted(now) {
		if p.send(p.subject(id), appendHead(nil, ask, p.id)) != nil {
			return // It is asked again.
		}
	}
}

// step sends some more of a snapshot, or begins one if somebody wants it. It says whether there is more.
func (p *Presence) step() bool {
	s := &p.speaker
	if s.snapshot == nil {
		if s.snapshot = p.begin(); s.snapshot == nil {
			return false
		}
	}
	for sent := 0; sent < stepBytes; {
		b, last := p.part(s.snapshot)
		for _, id := range s.snapshot.to {
			if p.send(p.subject(id), b) != nil {
				last = true // Who misses something asks again.
			}
			sent += len(b)
		}
		if last {
			s.snapshot = nil
			return p.asked()
		}
	}
	return true
}

// part is the next part of a snapshot.
func (p *Presence) part(s *sending) (b []byte, last bool) {
	body := p.speaker.buf[:0]
	for most := p.most(); len(s.names) > 0 && len(body) < most; {
		if n := p.src.Count(s.names[0]); n > 0 {
			body = appendCount(body, s.names[0], n)
		}
		s.names = s.names[1:]
	}
	p.speaker.buf = body
	end := uint64(0)
	if last = len(s.names) == 0; last {
		end = 1
	}
	b = appendNumbers(appendHead(nil, snapshot, p.id), uint64(s.seq), uint64(s.number), uint64(s.part), end)
	s.part++
	return append(b, body...), last
}

// begin makes a snapshot for those who have asked, or returns nil if nobody has. It is for all if most have.
func (p *Presence) begin() *sending {
	p.mu.Lock()
	var to []string
	for id := range p.askers {
		to = append(to, id)
	}
	clear(p.askers)
	if len(to) > 2 && len(to) > len(p.others)/2 {
		to = []string{toAll}
	}
	p.mu.Unlock()
	if to == nil {
		return nil
	}
	s := &p.speaker
	s.snapshots++
	return &sending{to: to, names: p.src.Occupied(), seq: s.seq, number: s.snapshots}
}

// asked says whether somebody wants a snapshot.
func (p *Presence) asked() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.askers) > 0
}
