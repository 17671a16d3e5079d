package bench

import "time"

// fanout measures the CPU per delivery. It sends a burst (of one, in mode fanout),
// waits until all clients have all of it, and sends the next.
func (r *round) fanout() ([]metric, error) {
	if err := r.connect(r.conns); err != nil {
		return nil, err
	}
	b := &bursts{round: r, seq: make([]uint64, r.senders)}
	if _, err := b.sendFor(r.warmup, warmupMessages); err != nil {
		return nil, err
	}
	w, err := r.openWindow()
	if err != nil {
		return nil, err
	}
	sent, err := b.sendFor(r.duration, 5)
	if err != nil {
		return nil, err
	}
	used, err := w.close()
	if err != nil {
		return nil, err
	}
	deliveries := float64(sent) * float64(r.conns)
	return append([]metric{
		{"CPU/delivery", "us", micros(used.cpu) / deliveries},
		{"deliveries", "1/s", deliveries / used.wall.Seconds()},
		{"messages", "", float64(sent)},
	}, used.metrics()...), nil
}

// warmupMessages is the least number of bursts before the measured time. Linux
// acknowledges the first 16 segments of a connection at once (tcp_input.c,
// TCP_MAX_QUICKACKS), which costs the server half as much again; with many
// connections that phase takes seconds.
const warmupMessages = 25

// bursts sends messages in closed loop.
type bursts struct {
	*round
	sent   int
	seq    []uint64 // per sender: the number of its next message
	frames []byte
}

// sendFor sends bursts for a time, atLeast in any case, and returns how many messages.
func (b *bursts) sendFor(d time.Duration, atLeast int) (int, error) {
	before := b.sent
	end := time.Now().Add(d)
	for i := 0; i < atLeast || time.Now().Before(end); i++ {
		if err := b.sendOne(); err != nil {
			return 0, err
		}
		if err := b.swarm.await(b.sent * b.conns); err != nil {
			return 0, err
		}
	}
	return b.sent - before, nil
}

// sendOne sends one burst: the next messages, dealt out to the senders in turn, each
// sender's in one write.
func (b *bursts) sendOne() error {
	first := b.sent % b.senders
	b.sent += b.burst
	for k := range min(b.burst, b.senders) {
		sender := (first + k) % b.senders
		b.frames = b.frames[:0]
		for i := k; i < b.burst; i += b.senders {
			m := message{uint32(sender), b.seq[sender]}
			b.frames = m.appendFrame(b.frames, b.size)
			b.seq[sender]++
		}
		if err := b.swarm.send(b.swarm.conns[sender], b.frames); err != nil {
			return err
		}
	}
	return nil
}
