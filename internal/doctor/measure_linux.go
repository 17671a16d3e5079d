package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/procfs"
	"github.com/crier-ws/crier/internal/swarm"
)

const (
	// mostMeasured is the highest number of connections of a measurement. Both ends are on this host, so they take 64
	// MB of the kernel's memory.
	mostMeasured = 8000
	// leastMeasured is the lowest number of connections whose memory is clear of noise.
	leastMeasured = 2000
	// steps is the number of equal steps in which the connections are opened. It is even.
	steps = 4
	// settle is how long the kernel's counts take to become exact: each processor adds its own once a second
	// (vm.stat_interval).
	settle = 1100 * time.Millisecond
	// spareFiles is the number of files that this process has open in addition to connections.
	spareFiles = 100
)

// Measured is the result of a measurement on this host. The zero value means that nothing was measured.
type Measured struct {
	Conns int // Connections at the end; 0 if nothing was measured.

	halfConns int     // Connections at the half.
	halfOwn   float64 // Bytes of the server at the half.
	live      float64 // Bytes of its heap for each connection beyond the half.

	socket []float64 // Bytes of the kernel for one socket, in each undisturbed step.
	cpu    []float64 // Seconds of the server for one delivery, in each broadcast.
}

// Sample has counts of the kernel at one moment.
type Sample struct {
	// Fixed is the number of bytes of slab that cannot be reclaimed, without those of ended connections. For a
	// socket, they hold the socket itself, its file and its epoll watch.
	Fixed int64
	// Loose is the number of bytes of slab that can be reclaimed: the inodes and dentries of sockets, and of all
	// files that were looked up.
	Loose   int64
	Sockets int64 // TCP sockets of the host.
}

// TakeSample takes a sample. It may lack the changes of the last second.
func TakeSample() (s Sample, err error) {
	if s.Fixed, err = procfs.Meminfo("/", "SUnreclaim"); err != nil {
		return s, err
	}
	if s.Loose, err = procfs.Meminfo("/", "SReclaimable"); err != nil {
		return s, err
	}
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return s, err
	}
	_, line, _ := strings.Cut(string(text), "TCP: ")
	words := strings.Fields(line)
	count := func(name string) (n int64) {
		if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
			n, _ = number(words[i+1])
		} else {
			err = errors.New("doctor: /proc/net/sockstat has no " + name)
		}
		return n
	}
	const timeWait = 256 // Bytes of a socket in TIME-WAIT: tw_sock_TCP in slabinfo(5).
	s.Fixed -= timeWait * count("tw")
	s.Sockets = count("alloc")
	return s, err
}

// Measure starts program, a crier, opens connections to it over loopback, at most those of the goal, and broadcasts to
// them. It blocks for about ten seconds. The program and all connections have ended when it returns.
func (h Host) Measure(program string, g Goal) (Measured, error) {
	return h.measure(program, g, settle)
}

func (h Host) measure(program string, g Goal, settle time.Duration) (Measured, error) {
	hard, err := h.HardLimit()
	if err != nil {
		return Measured{}, err
	}
	n := min(g.Conns, mostMeasured, int(min(hard, 1<<30))-max(spareFiles, g.Reserved)) / steps * steps
	if n < steps {
		return Measured{}, fmt.Errorf("doctor: %d open files or %d connections are too few to measure", hard, g.Conns)
	}
	// The server dies with the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := startServer(program)
	if err != nil {
		return Measured{}, fmt.Errorf("doctor: %w", err)
	}
	defer s.stop()
	clients, err := swarm.New(swarm.Config{
		Target: s.at.Addr, Greeting: broadcast.DefaultGreeting, Conns: n, PerProcess: n, Strict: true,
	})
	if err != nil {
		return Measured{}, err
	}
	defer clients.Close()
	r := &run{server: s, swarm: clients, settle: settle}
	r.Conns = n
	if err := r.memory(); err != nil {
		return Measured{}, fmt.Errorf("doctor: measuring memory: %w", err)
	}
	if err := r.broadcasts(); err != nil {
		return Measured{}, fmt.Errorf("doctor: measuring a broadcast: %w", err)
	}
	return r.Measured, nil
}

// run is a measurement in progress. It is owned by the goroutine of Measure.
type run struct {
	Measured
	server *server
	swarm  *swarm.Swarm
	settle time.Duration
}

// memory opens the connections, and measures their memory.
func (r *run) memory() error {
	before, err := r.rest()
	if err != nil {
		return err
	}
	var heap int64
	for i := range steps {
		n := r.Conns / steps * (i + 1)
		if err := r.swarm.Grow(n); err != nil {
			return err
		}
		now, err := r.rest()
		if err != nil {
			return err
		}
		if perSocket, ok := now.Since(before, r.Conns/steps); ok {
			r.socket = append(r.socket, perSocket)
		}
		before = now
		if i+1 != steps/2 {
			continue
		}
		// The first request for the heap takes memory itself, so it follows the measurement.
		own, err := procfs.RssAnon(r.server.cmd.Process.Pid)
		if err != nil {
			return err
		}
		r.halfConns, r.halfOwn = n, float64(own)
		if heap, err = r.server.heap(); err != nil {
			return err
		}
	}
	all, err := r.server.heap()
	r.live = float64(all-heap) / float64(r.Conns-r.halfConns)
	return err
}

// rest waits until the kernel's counts are exact, and takes a sample.
func (r *run) rest() (Sample, error) {
	if err := r.swarm.Rest(r.settle); err != nil {
		return Sample{}, err
	}
	return TakeSample()
}

// Since returns how many bytes each socket of n new connections takes, both ends of which are on this host. It returns
// false if other processes opened or closed sockets meanwhile, or changed the counts too much.
func (s Sample) Since(before Sample, n int) (perSocket float64, undisturbed bool) {
	sockets := s.Sockets - before.Sockets
	others := sockets - 2*int64(n)
	fixed := float64(s.Fixed-before.Fixed) / float64(max(sockets, 1))
	loose := float64(s.Loose-before.Loose) / float64(max(sockets, 1))
	// A socket takes 2.4 KB or more, its file 0.2, and its watch 0.2.
	const leastFixed, mostFixed = 2400, 4000
	// An inode takes 832 bytes, a dentry 192, and some space at the ends of pages is lost. A process that reads
	// /proc/PID/fd meanwhile creates as much again for each connection.
	const leastLoose, usualLoose, mostLoose = 900, 1080, 1300
	if loose < leastLoose || loose > mostLoose {
		loose = usualLoose
	}
	return fixed + loose, max(others, -others) <= int64(n/50+2) && fixed >= leastFixed && fixed <= mostFixed
}

// broadcasts measures the processor time of the server for a delivery.
func (r *run) broadcasts() error {
	// Linux acknowledges the first 16 segments of a connection at once, which costs the sender half as much again:
	// docs/architecture.md.
	const warmUp, rounds, long = 25, 12, 3 * time.Second
	begun := time.Now()
	for i := 0; i < warmUp && time.Since(begun) < long; i++ {
		if err := r.swarm.Broadcast(1); err != nil {
			return err
		}
	}
	for range rounds {
		before, err := procfs.CPU(r.server.cmd.Process.Pid)
		if err := cmp.Or(err, r.swarm.Broadcast(1)); err != nil {
			return err
		}
		after, err := procfs.CPU(r.server.cmd.Process.Pid)
		if err != nil {
			return err
		}
		r.cpu = append(r.cpu, (after-before).Seconds()/float64(r.Conns))
	}
	return nil
}
