package presence

import "time"

const (
	// minInterval is the shortest time between beats. With many servers it is beatPerServer for each of them: a
	// thousand servers, which each receive the beats of all others, would otherwise receive a thousand beats a second.
	minInterval   = time.Second
	beatPerServer = 10 * time.Millisecond

	// maxParts is how many messages a beat may take. The rest is sent with the next beat.
	maxParts = 64

	// stepBytes is how much of a snapshot is sent at once, and stepInterval the time between two such steps, so that
	// other messages of the connection are not held up.
	stepBytes    = 512 << 10
	stepInterval = 50 * time.Millisecond
)

// sender is what this server sends. Owned by Presence.run.
type sender struct {
	seq       uint32   // Of the last beat.
	changed   []string // Channels that have changed, and were not sent.
	buf       []byte   // Reused for messages.
	snapshots uint32   // How many were begun.
	snapshot  *outgoing
}

// outgoing is a snapshot that is being sent. Owned by Presence.run.
type outgoing struct {
	to       []string // IDs of servers, or toAll.
	names    []string // The channels that were not sent yet.
	seq      uint32   // Of the last beat before it.
	number   uint32   // Of the snapshot.
	nextPart uint32
}

// run sends beats and snapshots, until Close.
func (p *Presence) run() {
	ticks, steps := time.NewTicker(minInterval), time.NewTimer(stepInterval)
	defer ticks.Stop()
	defer steps.Stop()
	interval := p.beatInterval()
	p.sendBeat(interval)
	next := time.Now().Add(interval)
	for {
		mayStep := p.sender.snapshot == nil
		select {
		case <-p.ctx.Done():
			_ = p.send(p.subject(toAll), appendHead(nil, bye, p.id)) // If it is lost, others miss the beats.
			return
		case now := <-ticks.C:
			p.expire(time.Now())
			if now.Add(minInterval / 2).After(next) {
				interval = p.beatInterval()
				p.sendBeat(interval)
				next = now.Add(interval)
			}
		case <-steps.C:
			mayStep = true
		case <-p.wake:
		}
		p.askOthers(time.Now())
		if mayStep && p.sendStep() {
			steps.Reset(stepInterval)
		}
	}
}

// wakeRun makes run look for snapshots to ask for and to send. It does not block.
func (p *Presence) wakeRun() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// beatInterval returns the time to the next beat: whole seconds.
func (p *Presence) beatInterval() time.Duration {
	wait := time.Duration(p.Servers()) * beatPerServer
	return min(maxInterval, (max(wait, 1)+minInterval-1)/minInterval*minInterval)
}

// sendBeat sends what has changed, in as many messages as needed, up to maxParts. Others notice a message that
// cannot be sent by its number.
func (p *Presence) sendBeat(interval time.Duration) {
	s := &p.sender
	for range maxParts {
		p.fetchChanges()
		s.seq++
		b := appendHead(s.buf[:0], beat, p.id)
		b = appendNumbers(b, uint64(s.seq), uint64(interval.Milliseconds()), uint64(max(0, p.src.Joined())))
		for limit := p.partLimit(); len(s.changed) > 0 && len(b) < limit; {
			b = appendCount(b, s.changed[0], p.src.Count(s.changed[0]))
			s.changed = s.changed[1:]
			p.fetchChanges()
		}
		s.buf = b
		if p.send(p.subject(toAll), b) != nil || len(s.changed) == 0 {
			return
		}
	}
}

// partLimit returns the size from which on nothing is added to a message. NATS must still accept the message with
// one more count and its head.
func (p *Presence) partLimit() int {
	if p.nc == nil {
		return partBytes
	}
	return max(1, min(partBytes, int(p.nc.MaxPayload())-512))
}

// fetchChanges refills changed when it is empty. If too many channels have changed to know which, it skips a number, so
// that others ask for a snapshot.
func (p *Presence) fetchChanges() {
	s, many := &p.sender, false
	if len(s.changed) > 0 {
		return
	}
	if s.changed, many = p.src.Changed(256); many {
		s.seq++
	}
}

// askOthers asks other servers for the snapshots that this one lacks.
func (p *Presence) askOthers(now time.Time) {
	for _, id := range p.serversToAsk(now) {
		if p.send(p.subject(id), appendHead(nil, ask, p.id)) != nil {
			return // It is asked again after askAgain.
		}
	}
}

// sendStep sends up to stepBytes of a snapshot, and begins one if it was asked for. It reports whether there is more to
// send.
func (p *Presence) sendStep() bool {
	s := &p.sender
	if s.snapshot == nil {
		if s.snapshot = p.newSnapshot(); s.snapshot == nil {
			return false
		}
	}
	for sent := 0; sent < stepBytes; {
		b, last := p.encodePart(s.snapshot)
		for _, id := range s.snapshot.to {
			if p.send(p.subject(id), b) != nil {
				last = true // Servers that lack a part ask again.
			}
			sent += len(b)
		}
		if last {
			s.snapshot = nil
			return p.snapshotAsked()
		}
	}
	return true
}

// encodePart returns the next part of a snapshot, in memory of its own, and whether it is the last one.
func (p *Presence) encodePart(s *outgoing) (b []byte, last bool) {
	body := p.sender.buf[:0]
	for limit := p.partLimit(); len(s.names) > 0 && len(body) < limit; {
		if n := p.src.Count(s.names[0]); n > 0 {
			body = appendCount(body, s.names[0], n)
		}
		s.names = s.names[1:]
	}
	p.sender.buf = body
	lastFlag := uint64(0)
	if last = len(s.names) == 0; last {
		lastFlag = 1
	}
	head := appendHead(nil, snapshot, p.id)
	b = appendNumbers(head, uint64(s.seq), uint64(s.number), uint64(s.nextPart), lastFlag)
	s.nextPart++
	return append(b, body...), last
}

// newSnapshot returns a snapshot for the servers that have asked, or nil if none has. If most of them have, it is
// for all.
func (p *Presence) newSnapshot() *outgoing {
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
	s := &p.sender
	s.snapshots++
	return &outgoing{to: to, names: p.src.Occupied(), seq: s.seq, number: s.snapshots}
}

// snapshotAsked reports whether a server has asked for a snapshot.
func (p *Presence) snapshotAsked() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.askers) > 0
}
