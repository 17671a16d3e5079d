package bench

// idle measures the memory per idle connection.
func (r *round) idle() ([]metric, error) {
	few := r.conns / 10
	before, err := r.memoryWith(few)
	if err != nil {
		return nil, err
	}
	after, err := r.memoryWith(r.conns)
	if err != nil {
		return nil, err
	}
	threads, err := r.server.threads()
	if err != nil {
		return nil, err
	}
	return []metric{
		{"memory/conn", "B", float64(after-before) / float64(r.conns-few)},
		{"memory of all", "MB", float64(after) / 1e6},
		{"threads", "", float64(threads)},
	}, nil
}

// memoryWith returns the server's memory some time after it has n connections.
func (r *round) memoryWith(n int) (int64, error) {
	if err := r.connect(n); err != nil {
		return 0, err
	}
	return r.server.memory()
}
