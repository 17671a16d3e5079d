package bench

import "time"

// stall measures how much memory the server takes for receivers that do not read,
// and whether the others get everything meanwhile.
func (r *round) stall() ([]metric, error) {
	if err := r.connect(r.conns); err != nil {
		return nil, err
	}
	healthy := r.swarm.conns[:r.conns-r.stalled]
	stalled := r.swarm.conns[len(healthy):]
	for _, c := range stalled {
		c.paused = true
	}
	r.swarm.lossy = true
	before, err := r.server.memory()
	if err != nil {
		return nil, err
	}
	p := r.newPace()
	most, err := p.sendSampling()
	if err != nil {
		return nil, err
	}
	if err := p.awaitAll(healthy); err != nil {
		return nil, err
	}
	if err := r.wake(p, len(healthy)); err != nil {
		return nil, err
	}
	whole, cut, lacking := p.tally(healthy)
	stalledWhole, stalledCut, stalledLacking := p.tally(stalled)
	return []metric{
		{"growth", "MB", float64(most-before) / 1e6},
		{"healthy whole", "", float64(whole)},
		{"healthy cut", "", float64(cut)},
		{"healthy lacking", "", float64(lacking)},
		{"stalled whole", "", float64(stalledWhole)},
		{"stalled cut", "", float64(stalledCut)},
		{"stalled lacking", "", float64(stalledLacking)},
	}, nil
}

// sendSampling sends all messages and returns the most memory the server had.
func (p *pace) sendSampling() (most int64, err error) {
	const interval = 100 * time.Millisecond
	for next := time.Now(); !p.done(); {
		wait, err := p.sendDue()
		if err != nil {
			return 0, err
		}
		if now := time.Now(); !now.Before(next) {
			memory, err := p.server.memory()
			if err != nil {
				return 0, err
			}
			most = max(most, memory)
			next = now.Add(interval)
		}
		if err := p.swarm.poll(min(wait, interval)); err != nil {
			return 0, err
		}
	}
	memory, err := p.server.memory()
	return max(most, memory), err
}

// wake lets the clients from the given one on read again, which is the only way to
// learn whether the server had cut them off: its FIN waits behind unread data.
func (r *round) wake(p *pace, from int) error {
	for i, c := range r.swarm.conns[from:] {
		c.paused = false
		if err := r.swarm.drain(from+i, true); err != nil {
			return err
		}
	}
	return p.awaitAll(r.swarm.conns[from:])
}
