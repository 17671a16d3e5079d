package bench

import (
	"errors"
	"time"
)

// stall measures how much memory the server takes for receivers that do not read,
// and whether the others get everything meanwhile.
func (r *round) stall() ([]metric, error) {
	if err := r.connect(r.conns); err != nil {
		return nil, err
	}
	if err := r.swarm.Stall(r.stalled); err != nil {
		return nil, err
	}
	before, err := r.server.memory()
	if err != nil {
		return nil, err
	}
	most := r.server.sampleMemory()
	err = errors.Join(r.swarm.Send(r.load()), r.swarm.Settle(r.grace))
	growth := most() - before
	if err != nil {
		return nil, err
	}
	healthy := r.conns - r.stalled
	whole, err := r.swarm.Tally(0, healthy)
	if err != nil {
		return nil, err
	}
	// That the stalled ones were cut off they learn behind what they have not read.
	if err := errors.Join(r.swarm.Resume(), r.swarm.Settle(r.grace), r.intact()); err != nil {
		return nil, err
	}
	stalled, err := r.swarm.Tally(healthy, r.conns)
	if err != nil {
		return nil, err
	}
	return []metric{
		{"growth", "MB", float64(growth) / 1e6},
		{"healthy whole", "", float64(whole.Whole)},
		{"healthy cut", "", float64(whole.Dropped)},
		{"healthy lacking", "", float64(whole.Lacking)},
		{"stalled whole", "", float64(stalled.Whole)},
		{"stalled cut", "", float64(stalled.Dropped)},
		{"stalled lacking", "", float64(stalled.Lacking)},
	}, nil
}

// sampleMemory watches the server's memory until the function is called that it
// returns, which returns the most that there was.
func (s *server) sampleMemory() (most func() int64) {
	const interval = 100 * time.Millisecond
	var highest int64
	sample := func() {
		// A server that has ended is noticed by what it does not deliver.
		if memory, err := s.memory(); err == nil {
			highest = max(highest, memory)
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	// Ends with the call of most, which waits for it.
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(interval):
				sample()
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		sample()
		return highest
	}
}
