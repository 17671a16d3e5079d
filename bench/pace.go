package bench

import "time"

// pace sends messages at a steady rate whatever the server does: open loop.
type pace struct {
	*round
	start  time.Time
	sent   int
	total  int
	frames []byte
}

func (r *round) newPace() *pace {
	return &pace{round: r, start: time.Now(), total: int(r.rate * r.duration.Seconds())}
}

// intended returns when the i-th message of all is due.
func (p *pace) intended(i int) time.Time {
	return p.start.Add(time.Duration(float64(i) / p.rate * float64(time.Second)))
}

// number returns the place of a message among those of all senders.
func (p *pace) number(m message) int { return int(m.seq)*p.senders + int(m.sender) }

// done tells whether all messages were sent.
func (p *pace) done() bool { return p.sent == p.total }

// sendDue sends the messages that are due, and returns the time until the next.
func (p *pace) sendDue() (time.Duration, error) {
	for ; p.sent < p.total; p.sent++ {
		if wait := time.Until(p.intended(p.sent)); wait > 0 {
			return wait, nil
		}
		m := message{uint32(p.sent % p.senders), uint64(p.sent / p.senders)}
		p.frames = m.appendFrame(p.frames[:0], p.size)
		if err := p.swarm.send(p.swarm.conns[m.sender], p.frames); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// awaitAll polls until each of some clients has all messages or was cut off, or the
// grace has passed.
func (p *pace) awaitAll(clients []*conn) error {
	const step = 20 * time.Millisecond
	for end := time.Now().Add(p.grace); time.Now().Before(end); {
		settled := true
		for _, c := range clients {
			settled = settled && (c.got == p.total || c.phase == phaseCut)
		}
		if settled {
			return nil
		}
		if err := p.swarm.pollFor(step); err != nil {
			return err
		}
	}
	return nil
}

// tally counts what became of some clients: those that have all messages, those that
// the server cut off, and those that lack messages and were not.
func (p *pace) tally(clients []*conn) (whole, cut, lacking int) {
	for _, c := range clients {
		switch {
		case c.got == p.total:
			whole++
		case c.phase == phaseCut:
			cut++
		default:
			lacking++
		}
	}
	return whole, cut, lacking
}
