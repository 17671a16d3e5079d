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
	// mostMeasured is how many connections a measurement makes at the most. Each is there
	// with both ends, so this is 64 MB of the kernel's.
	mostMeasured = 8000
	// leastMeasured is how many have to be for memory to be told apart from noise.
	leastMeasured = 2000
	// steps is in how many equal parts they are made; an even number.
	steps = 4
	// settle is how long the kernel's counts take to be right: each processor adds up
	// its own once a second (vm.stat_interval).
	settle = 1100 * time.Millisecond
	// spareFiles is what this process has open besides connections.
	spareFiles = 100
)

// Measured is what a measurement on this host found.
type Measured struct {
	Conns int // connections at the end; 0 if nothing was measured

	halfConns int     // in the middle
	halfOwn   float64 // bytes of the server's own then
	live      float64 // bytes on its heap for each connection beyond

	socket []float64 // bytes of the kernel's for one socket, of each step that nobody disturbed
	cpu    []float64 // seconds of the server for one delivery, of each broadcast
}

// Sample is what the kernel has at one moment.
type Sample struct {
	// Fixed is the bytes of slab that cannot be reclaimed, without what is left of
	// connections that have ended: of a socket's, the socket itself, its file, and its
	// watch.
	Fixed int64
	// Loose is the bytes of slab that can be reclaimed: of a socket's, its inode and its
	// dentry, and all that was ever looked at of files and of proc.
	Loose   int64
	Sockets int64 // of TCP, in all of the host
}

// TakeSample takes one. What was done in the second before may lack.
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
	const timeWait = 256 // bytes of one, tw_sock_TCP in slabinfo(5)
	s.Fixed -= timeWait * count("tw")
	s.Sockets = count("alloc")
	return s, err
}

// Measure starts a crier, the program, makes connections to it over loopback, up to as
// many as are wished for, and broadcasts to them. It blocks for about ten seconds. All
// has ended when it returns.
func (h Host) Measure(program string, w Wish) (Measured, error) {
	return h.measure(program, w, settle)
}

func (h Host) measure(program string, w Wish, settle time.Duration) (Measured, error) {
	hard, err := h.HardLimit()
	if err != nil {
		return Measured{}, err
	}
	n := min(w.Conns, mostMeasured, int(min(hard, 1<<30))-max(spareFiles, w.Reserved)) / steps * steps
	if n < steps {
		return Measured{}, fmt.Errorf("doctor: %d open files and %d connections wished for are too few to measure", hard, w.Conns)
	}
	// The server dies with the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := startServer(program)
	if err != nil {
		return Measured{}, fmt.Errorf("doctor: %w", err)
	}
	defer s.stop()
	clients, err := swarm.New(swarm.Config{Target: s.at.Addr, Greeting: broadcast.DefaultGreeting, Conns: n, PerProcess: n, Strict: true})
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

// run is a measurement under way.
type run struct {
	Measured
	server *server
	swarm  *swarm.Swarm
	settle time.Duration
}

// memory makes the connections, and measures what they take up.
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
		// The first question about the heap takes up memory itself, so it comes second.
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

// rest waits until the kernel's counts are right, and takes them.
func (r *run) rest() (Sample, error) {
	if err := r.swarm.Rest(r.settle); err != nil {
		return Sample{}, err
	}
	return TakeSample()
}

// Since returns how many bytes each socket takes of those that n connections have made,
// both ends of which are here, and false if others made or ended some meanwhile, or much
// else.
func (s Sample) Since(before Sample, n int) (perSocket float64, undisturbed bool) {
	sockets := s.Sockets - before.Sockets
	others := sockets - 2*int64(n)
	fixed := float64(s.Fixed-before.Fixed) / float64(max(sockets, 1))
	loose := float64(s.Loose-before.Loose) / float64(max(sockets, 1))
	// 2.4 KB and up for a socket, 0.2 for its file, 0.2 for its watch.
	const leastFixed, mostFixed = 2400, 4000
	// 832 bytes for an inode, 192 for a dentry, and what pages have left at their ends.
	// Whoever looks into /proc/PID/fd meanwhile makes as much again for each connection.
	const leastLoose, usualLoose, mostLoose = 900, 1080, 1300
	if loose < leastLoose || loose > mostLoose {
		loose = usualLoose
	}
	return fixed + loose, max(others, -others) <= int64(n/50+2) && fixed >= leastFixed && fixed <= mostFixed
}

// broadcasts measures what a delivery costs the server.
func (r *run) broadcasts() error {
	// Linux acknowledges the first 16 segments of a connection at once, which costs the
	// sender half as much again: see docs/architecture.md.
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
