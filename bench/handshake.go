package bench

import "time"

// handshake measures the CPU per connection made. What connects first, so that the
// server is warm, and all closing are outside of the window.
func (r *round) handshake() ([]metric, error) {
	if err := r.swarm.Grow(r.conns / 10); err != nil {
		return nil, err
	}
	if err := r.swarm.Shrink(0); err != nil {
		return nil, err
	}
	if err := r.swarm.Rest(r.settle); err != nil {
		return nil, err
	}
	w, err := r.openWindow()
	if err != nil {
		return nil, err
	}
	if err := r.swarm.Grow(r.conns); err != nil {
		return nil, err
	}
	wall := time.Since(w.start)
	// What the server puts off belongs to the handshakes too.
	if err := r.swarm.Rest(100 * time.Millisecond); err != nil {
		return nil, err
	}
	used, err := w.close()
	if err != nil {
		return nil, err
	}
	n := float64(r.conns)
	return append([]metric{
		{"CPU/handshake", "us", micros(used.cpu) / n},
		{"handshakes", "1/s", n / wall.Seconds()},
	}, used.metrics()...), nil
}
