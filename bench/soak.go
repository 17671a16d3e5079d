package bench

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/crier-ws/crier/bench/hostile"
	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/swarm"
)

// soak is a server with healthy clients that hostile clients attack for some time.
type soak struct {
	out      io.Writer
	crier    string
	healthy  int // The connections that must receive every message.
	hostile  int // Hostile clients at a time.
	rate     float64
	duration time.Duration
	rounds   int
	seed     uint64
	only     string
	kinds    []hostile.Kind // The kinds whose names contain only.

	server *server
	pprof  string
}

// SoakCommand runs the command of bench/soak with its arguments, without the name. It blocks until the soak is over. The
// caller's goroutine must be locked to its thread, and the thread must live for as long: the server ends with it.
func SoakCommand(args []string) error {
	s := &soak{out: os.Stdout}
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.StringVar(&s.crier, "crier", "", "the crier `program` (default: built from this repository)")
	race := f.Bool("race", false, "build it with the race detector")
	f.IntVar(&s.healthy, "healthy", 500, "connections that must receive every message")
	f.IntVar(&s.hostile, "hostile", 200, "hostile clients at a time")
	f.Float64Var(&s.rate, "rate", 50, "messages per second among the healthy")
	f.DurationVar(&s.duration, "duration", time.Minute,
		"how long the hostile attack; before that the healthy are alone for a quarter of this time, at most a minute")
	f.IntVar(&s.rounds, "rounds", 1, "divide the time into `n` parts, each without and then with the hostile")
	f.StringVar(&s.only, "only", "", "only the kinds whose name contains this `text`")
	crowd := f.String("crowd", "", "be the hostile clients of the server at this `address` until standard input ends")
	f.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "seed of what the hostile do")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, k := range append(slices.Clone(hostile.Kinds), hostile.Publisher) {
		if strings.Contains(k.Name, s.only) {
			s.kinds = append(s.kinds, k)
		}
	}
	if len(s.kinds) == 0 {
		return fmt.Errorf("soak: no kind has a name that contains %q", s.only)
	}
	if *crowd != "" {
		return s.runCrowd(*crowd)
	}
	if s.healthy < 10 || s.hostile < 0 || s.rounds < 1 || s.rate <= 0 || f.NArg() > 0 {
		return errors.New("soak: want -healthy of at least 10, -rounds of at least 1, a -rate, and no other arguments")
	}
	if s.crier == "" {
		dir, err := os.MkdirTemp("", "soak")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		var flags []string
		if *race {
			flags = []string{"-race"}
		}
		if s.crier, err = criertest.Build(dir, flags...); err != nil {
			return err
		}
	}
	return s.run()
}

// kept is what the server holds when nobody is connected.
type kept struct {
	goroutines, files int64
	heap              int64 // Bytes after a garbage collection.
}

func (s *soak) run() error {
	fmt.Fprintf(s.out, "seed %d\n", s.seed)
	port, err := freePort()
	if err != nil {
		return err
	}
	s.pprof = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	// At --log-level error, only the exit code reports a data race.
	command := fmt.Sprintf("env -u GOMAXPROCS GORACE=halt_on_error=1 %s --listen 127.0.0.1:{port} --log-level error "+
		"--compress --max-message 256KiB --handshake-timeout 2s --ping-interval 2s --ping-timeout 4s --rate 1 "+
		"--retain 1MiB --memory 512MiB --pprof %s", s.crier, s.pprof)
	if s.server, err = startServer(command, "", time.Now().Add(time.Minute)); err != nil {
		return err
	}
	defer s.server.stop()
	// The warm-up allocates what the server keeps. Afterwards come the healthy alone, and both together.
	if _, err := s.phase("warm-up", min(s.duration/10, 5*time.Second), s.hostile); err != nil {
		return err
	}
	before, err := s.rest()
	if err != nil {
		return err
	}
	var alone, beside []time.Duration
	for range s.rounds {
		rounds := time.Duration(s.rounds)
		p99, err := s.phase("alone", min(s.duration/4, time.Minute)/rounds, 0)
		if err != nil {
			return err
		}
		alone = append(alone, p99)
		if p99, err = s.phase("beside the hostile", s.duration/rounds, s.hostile); err != nil {
			return err
		}
		beside = append(beside, p99)
	}
	fmt.Fprintf(s.out, "p99, median of %d: alone %v, beside the hostile %v: %.2f times\n",
		s.rounds, median(alone), median(beside), float64(median(beside))/float64(median(alone)))
	after, err := s.rest()
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "goroutines %d, then %d; open files %d, then %d; heap %.1f MB, then %.1f MB\n",
		before.goroutines, after.goroutines, before.files, after.files,
		float64(before.heap)/1e6, float64(after.heap)/1e6)
	const slack = 4 << 20 // Bytes that pools may keep.
	if after.goroutines > before.goroutines || after.files > before.files || after.heap > before.heap+slack {
		return errors.New("soak: the server has more goroutines, files or heap than before: it leaks")
	}
	return nil
}

// phase runs the healthy clients for a time, beside so many hostile ones, and checks that the healthy received every
// message. It returns the 99th percentile of their latency.
func (s *soak) phase(name string, d time.Duration, others int) (p99 time.Duration, err error) {
	sw, err := swarm.New(swarm.Config{
		Target: s.server.addr(), Greeting: "connection established",
		Conns: s.healthy, Senders: s.healthy / 5, Size: 600, Timed: true,
	})
	if err != nil {
		return 0, err
	}
	defer sw.Close()
	if err := sw.Grow(s.healthy); err != nil {
		return 0, err
	}
	stop, err := s.crowd(others)
	if err != nil {
		return 0, err
	}
	err = errors.Join(sw.Send(swarm.Load{Messages: int(s.rate * d.Seconds()), Rate: s.rate}), sw.Settle(30*time.Second))
	wrong := stop()
	if err != nil {
		return 0, err
	}
	st, err := sw.Stats()
	if err != nil {
		return 0, err
	}
	at := func(q float64) time.Duration { return st.Latency.At(q).Round(10 * time.Microsecond) }
	fmt.Fprintf(s.out, "%s: %d healthy clients, %d messages, %d deliveries, %d of others; "+
		"latency p50 %v, p99 %v, at the most %v\n",
		name, s.healthy, st.Sent, st.Delivered, st.Corrupted, at(0.5), at(0.99), at(1))
	// Messages of the hostile count as corrupted, and are none of the swarm's.
	if st.Lost+st.Duplicated+st.Reordered+st.Dropped > 0 || st.Delivered != st.Sent*s.healthy {
		return 0, fmt.Errorf("soak: of %d deliveries to healthy clients, %d arrived; "+
			"%d lost, %d duplicated, %d out of order, %d cut off; %s",
			st.Sent*s.healthy, st.Delivered, st.Lost, st.Duplicated, st.Reordered, st.Dropped, st.Error)
	}
	return st.Latency.At(0.99), wrong
}

// crowd starts a process with n hostile clients at a time. By chrt(1) it runs only on idle processors, since real
// hostile clients have their own machines. stop ends it, and returns an error if the server ended one of them in a wrong way.
func (s *soak) crowd(n int) (stop func() error, err error) {
	if n == 0 {
		return func() error { return nil }, nil
	}
	me, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("chrt", "--idle", "0", me, "-crowd", s.server.addr().String(), "-hostile", strconv.Itoa(n),
		"-seed", strconv.FormatUint(s.seed, 10), "-only", s.only)
	cmd.Stdout, cmd.Stderr = s.out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	return func() error {
		_ = in.Close() // This ends runCrowd.
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("soak: the hostile clients: %w", err)
		}
		return nil
	}, err
}

// runCrowd is the main function of the process that crowd starts.
func (s *soak) runCrowd(addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("soak: -crowd: %w", err)
	}
	const patience = 3 * time.Second // How long a hostile client waits before it leaves.
	crowd := hostile.Start(to, s.kinds, s.hostile, patience, s.seed)
	_, _ = io.Copy(io.Discard, os.Stdin)
	err = crowd.Stop()
	fmt.Fprint(s.out, crowd)
	return err
}

// rest waits until no client is connected, and returns what the server still holds.
func (s *soak) rest() (k kept, err error) {
	const patience = 30 * time.Second
	m := million{pprof: s.pprof, patience: patience}
	for end := time.Now().Add(patience); ; {
		open, err := s.files()
		if err != nil {
			return k, err
		}
		// All have left once two counts, a tick of the server apart, are the same.
		time.Sleep(time.Second)
		if k.files, err = s.files(); err != nil {
			return k, err
		}
		if k.files == open || time.Now().After(end) {
			break
		}
	}
	if k.goroutines, err = m.goroutines(); err != nil {
		return k, err
	}
	for range 2 { // A sync.Pool is emptied by the second collection.
		k.heap, err = m.heap()
	}
	return k, err
}

// files returns the number of the server's open files.
func (s *soak) files() (int64, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.server.cmd.Process.Pid))
	return int64(len(entries)), err
}
