package bench

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// fanout measures the CPU per delivery. It sends a burst (of one, in mode fanout),
// waits until all connections have all of it, and sends the next.
func (r *round) fanout() ([]metric, error) {
	if err := r.connect(r.conns); err != nil {
		return nil, err
	}
	if err := r.warmUp(); err != nil {
		return nil, err
	}
	before, err := r.swarm.Stats()
	if err != nil {
		return nil, err
	}
	w, err := r.openWindow()
	if err != nil {
		return nil, err
	}
	sent, err := r.broadcastFor(r.duration, 3)
	if err != nil {
		return nil, err
	}
	used, err := w.close()
	if err != nil {
		return nil, err
	}
	after, err := r.swarm.Stats()
	if err != nil {
		return nil, err
	}
	deliveries := float64(sent) * float64(r.conns)
	calls, err := r.countCalls()
	if err != nil {
		return nil, err
	}
	return append(append([]metric{
		{"CPU/delivery", "us", micros(used.cpu) / deliveries},
		{"deliveries", "1/s", deliveries / used.wall.Seconds()},
		{"messages", "", float64(sent)},
		{"swarm", "us", micros(after.CPU-before.CPU) / deliveries},
	}, calls...), used.metrics()...), nil
}

// countCalls returns the server's socketCalls per delivery, counted during a few more bursts. The server runs much
// slower meanwhile. Without strace(1), or where it is not permitted, countCalls returns none.
func (r *round) countCalls() ([]metric, error) {
	if !r.syscalls {
		return nil, nil
	}
	const deliveries = 10000
	bursts := max(1, deliveries/(r.conns*r.burst))
	n, err := traceCalls(r.server.cmd.Process.Pid, socketCalls, func() error {
		_, err := r.broadcastFor(0, bursts)
		return err
	})
	if errors.Is(err, errNoStrace) {
		fmt.Fprintf(os.Stderr, "no system calls are counted: %v\n", err)
		return nil, nil
	}
	return []metric{{callsPerDelivery, "", float64(n) / float64(bursts*r.burst*r.conns)}}, err
}

// warmUp sends bursts for the time of the warm-up, and until each connection got 25
// segments or more. Linux acknowledges the first 16 of a connection at once
// (tcp_input.c, TCP_MAX_QUICKACKS), which costs the server half as much again; with
// many connections that phase takes seconds. A server that coalesces may send a burst as
// one segment. Another one takes seconds for a burst, each message of which is a segment.
func (r *round) warmUp() error {
	const segments, long = 25, 3 * time.Second
	begun := time.Now()
	for sent := 0; ; sent += r.burst {
		elapsed := time.Since(begun)
		enough := sent >= segments*r.burst || sent >= segments && elapsed >= long
		if enough && elapsed >= r.warmup {
			return nil
		}
		if err := r.swarm.Broadcast(r.burst); err != nil {
			return err
		}
	}
}

// broadcastFor sends bursts in closed loop for a time, atLeast in any case, and returns
// how many messages.
func (r *round) broadcastFor(d time.Duration, atLeast int) (sent int, err error) {
	end := time.Now().Add(d)
	for i := 0; i < atLeast || time.Now().Before(end); i++ {
		if err := r.swarm.Broadcast(r.burst); err != nil {
			return sent, err
		}
		sent += r.burst
	}
	return sent, nil
}
