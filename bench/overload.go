package bench

import (
	"errors"
	"fmt"

	"github.com/crier-ws/crier/internal/swarm"
)

// overload measures latencies in open loop. Each delivery counts from the time its
// message was due, not from the time it was sent; so a server that is behind cannot
// slow down what it is measured by. A delivery that did not come within the grace
// counts as if it had come at its end. With churn, connections end and come again
// meanwhile, and get all from their first message on.
func (r *round) overload() ([]metric, error) {
	if err := r.connect(r.conns); err != nil {
		return nil, err
	}
	w, err := r.openWindow()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.swarm.Send(r.load()), r.swarm.Settle(r.grace)); err != nil {
		return nil, err
	}
	used, err := w.close()
	if err != nil {
		return nil, err
	}
	if err := r.intact(); err != nil {
		return nil, err
	}
	s, err := r.swarm.Stats()
	if err != nil {
		return nil, err
	}
	return append([]metric{
		{"p99", "ms", millis(s.Latency.At(0.99))},
		{"p50", "ms", millis(s.Latency.At(0.5))},
		{"max", "ms", millis(s.Latency.At(1))},
		{"delivered", "", float64(s.Delivered)},
		{"missing", "", float64(s.Lost)},
		{"cut", "", float64(s.Dropped)},
		{"renewed", "", float64(s.Renewed)},
		{"late p99", "ms", millis(s.Late.At(0.99))},
		{"CPU/delivery", "us", micros(used.cpu) / float64(max(s.Delivered, 1))},
	}, used.metrics()...), nil
}

// load is what the modes in open loop send.
func (r *round) load() swarm.Load {
	return swarm.Load{Messages: int(r.rate * r.duration.Seconds()), Rate: r.rate, Churn: r.churn}
}

// intact is an error if something else came than what was due, where it may be that
// something did not come.
func (r *round) intact() error {
	s, err := r.swarm.Stats()
	if err != nil {
		return err
	}
	if s.Duplicated+s.Reordered+s.Corrupted > 0 {
		return fmt.Errorf("measure: %d deliveries came again, %d out of order, %d damaged", s.Duplicated, s.Reordered, s.Corrupted)
	}
	return nil
}
