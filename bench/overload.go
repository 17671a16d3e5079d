package bench

import "time"

// overload measures latencies in open loop. Each delivery counts from the time its
// message was due, not from the time it was sent; so a server that is behind cannot
// slow down what it is measured by. A delivery that did not come within the grace
// counts as if it had come at its end.
func (r *round) overload() ([]metric, error) {
	if err := r.connect(r.conns); err != nil {
		return nil, err
	}
	r.swarm.lossy = true
	w, err := r.openWindow()
	if err != nil {
		return nil, err
	}
	p := r.newPace()
	var h histogram
	if err := p.sendTiming(&h); err != nil {
		return nil, err
	}
	used, err := w.close()
	if err != nil {
		return nil, err
	}
	delivered := h.count
	missing := p.addMissing(&h)
	_, cut, _ := p.tally(r.swarm.conns)
	return append([]metric{
		{"p99", "ms", millis(h.quantile(0.99))},
		{"p50", "ms", millis(h.quantile(0.5))},
		{"max", "ms", millis(h.max)},
		{"delivered", "", float64(delivered)},
		{"missing", "", float64(missing)},
		{"cut", "", float64(cut)},
		{"CPU/delivery", "us", micros(used.cpu) / float64(max(delivered, 1))},
	}, used.metrics()...), nil
}

// sendTiming sends all messages and adds the deliveries' latencies to h.
func (p *pace) sendTiming(h *histogram) error {
	p.swarm.onMessage = func(at time.Time, m message) {
		h.add(at.Sub(p.intended(p.number(m))))
	}
	for !p.done() {
		if _, err := p.sendDue(); err != nil {
			return err
		}
		// No waiting: a millisecond, which is the least there is, would be late.
		if err := p.swarm.poll(0); err != nil {
			return err
		}
	}
	return p.awaitAll(p.swarm.conns)
}

// addMissing adds the deliveries that did not come, and returns their number. Those
// that were left out between others count as due at the start.
func (p *pace) addMissing(h *histogram) int {
	now, missing := time.Now(), p.total*p.conns-h.count
	left := missing
	for i := range p.conns {
		for sender := range p.senders {
			seq := p.swarm.due[i*p.senders+sender]
			for m := (message{uint32(sender), seq}); p.number(m) < p.total; m.seq++ {
				h.add(now.Sub(p.intended(p.number(m))))
				left--
			}
		}
	}
	for range left {
		h.add(now.Sub(p.start))
	}
	return missing
}
