package bench

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/crier-ws/crier/bench/systrace"
	"golang.org/x/sys/unix"
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

// countCalls counts the server's system calls per delivery, of those that move bytes and
// wait for sockets, during a few more bursts. Others a server makes by the clock, and it
// runs much slower while it is counted. Where counting is not permitted there is none.
func (r *round) countCalls() ([]metric, error) {
	if !r.syscalls {
		return nil, nil
	}
	const deliveries = 10000
	bursts := max(1, deliveries/(r.conns*r.burst))
	calls, err := systrace.Count(r.server.cmd.Process.Pid, func() error {
		_, err := r.broadcastFor(0, bursts)
		return err
	})
	if errors.Is(err, systrace.ErrNotPermitted) {
		fmt.Fprintf(os.Stderr, "no system calls are counted: %v\n", err)
		return nil, nil
	}
	n := calls.Of(unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_WRITE, unix.SYS_WRITEV,
		unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_READ, unix.SYS_READV,
		unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, epollWait, unix.SYS_EPOLL_CTL)
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
