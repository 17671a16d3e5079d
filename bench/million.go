package bench

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/procfs"
	"github.com/crier-ws/crier/internal/swarm"
)

// million is one crier process with as many connections as fit.
type million struct {
	out       io.Writer  // what is found, as it is found
	mu        sync.Mutex // guards out
	crier     string     // the program
	conns     int
	threads   int
	ping      time.Duration // crier's --ping-interval
	rest      time.Duration // for which idling is measured
	keepAlive time.Duration
	patience  time.Duration
	serverCPU string // cores, all if empty

	server *server
	swarm  *swarm.Swarm
	pprof  string // where crier tells of itself
	found  []metric
	begun  time.Time
}

// MillionCommand is the command million, without its name: see bench/million. It blocks
// until all is measured. The goroutine must be locked to its thread, which must not end
// before: the server dies with it.
func MillionCommand(args []string) error {
	m := &million{out: os.Stdout, threads: runtime.GOMAXPROCS(0)}
	f := flag.NewFlagSet("million", flag.ContinueOnError)
	f.StringVar(&m.crier, "crier", "", "the crier `program` (default: built from this repository)")
	f.IntVar(&m.conns, "conns", 1_000_000, "connections wanted")
	f.DurationVar(&m.ping, "ping", 30*time.Second, "crier's --ping-interval")
	f.DurationVar(&m.rest, "idle", 10*time.Second, "time of rest in which idling is measured")
	f.DurationVar(&m.keepAlive, "keepalive", 30*time.Second, "time in which pings are counted")
	f.DurationVar(&m.patience, "patience", 5*time.Minute, "time without any step forward after which it fails")
	asJSON := f.Bool("json", false, "print JSON in the end")
	if err := f.Parse(args); err != nil {
		return err
	}
	if m.conns < 2*fewConns || f.NArg() > 0 {
		return fmt.Errorf("million: -conns is %d, want at least %d, and no arguments besides flags", m.conns, 2*fewConns)
	}
	if *asJSON {
		m.out = os.Stderr
	}
	dir, err := os.MkdirTemp("", "million")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if m.crier == "" {
		if m.crier, err = criertest.Build(dir); err != nil {
			return err
		}
	}
	limits, err := readLimits()
	if err != nil {
		return err
	}
	if m.conns, err = fit(m.out, m.conns, limits); err != nil {
		return err
	}
	err = m.run()
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		err = errors.Join(err, e.Encode(m.found))
	}
	return err
}

// fewConns is what many connections are compared with.
const fewConns = 1000

// run measures all, with the connections that m.conns says.
func (m *million) run() error {
	if m.conns < 2*fewConns {
		return fmt.Errorf("million: %d connections are too few: at least %d are needed", m.conns, 2*fewConns)
	}
	m.begun = time.Now()
	port, err := freePort()
	if err != nil {
		return err
	}
	m.pprof = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	command := fmt.Sprintf("env -u GOMAXPROCS %s --listen 127.0.0.1:{port} --log-level warn --ping-interval %v --ping-timeout %v --pprof %s", m.crier, m.ping, m.ping+m.patience, m.pprof)
	if m.server, err = startServer(command, m.serverCPU, time.Now().Add(time.Minute)); err != nil {
		return err
	}
	defer m.server.stop()
	m.swarm, err = swarm.New(swarm.Config{
		Target: m.server.addr(), Greeting: "connection established", Conns: m.conns,
		Threads: m.threads, Strict: true, Timed: true, Patience: m.patience,
		PerProcess: m.conns, // as the limits have been looked at
	})
	if err != nil {
		return err
	}
	defer m.swarm.Close()
	stop := m.watch()
	defer stop()
	return cmp.Or(m.connect(), m.broadcast("broadcast"), m.pings(), m.reconnect(), m.broadcast("broadcast after the storm"))
}

// watch prints how far the run is, until the function is called that it returns.
func (m *million) watch() (stop func()) {
	const interval = 30 * time.Second
	quit, ended := make(chan struct{}), make(chan struct{})
	// Ends with the call of stop, which waits for it.
	go func() {
		defer close(ended)
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticks.C:
				c := m.swarm.Progress()
				m.say("... %d connections, %d deliveries", c.Open, c.Delivered)
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

// tell prints figures of a step and keeps them.
func (m *million) tell(step string, figures ...metric) {
	for _, f := range figures {
		f.Name = step + ": " + f.Name
		m.found = append(m.found, f)
		m.say("%s %s %s", f.Name, number(f.Value), f.Unit)
	}
}

// say prints a line with the time.
func (m *million) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	elapsed := time.Since(m.begun).Round(time.Second)
	fmt.Fprintf(m.out, "%8s  %s\n", elapsed, fmt.Sprintf(format, args...))
}

// state is what server and kernel use at one moment.
type state struct {
	memory     int64 // the server's own, bytes
	slab       int64 // the kernel's, bytes
	goroutines int64
	threads    int64
}

func (m *million) state() (s state, err error) {
	var errs [4]error
	s.memory, errs[0] = m.server.memory()
	s.slab, errs[1] = procfs.Meminfo("/", "Slab")
	s.goroutines, errs[2] = m.goroutines()
	s.threads, errs[3] = m.server.threads()
	return s, errors.Join(errs[:]...)
}

// goroutines asks crier for the number of its goroutines.
func (m *million) goroutines() (int64, error) {
	return m.profile("goroutine?debug=1", "goroutine profile: total %d")
}

// heap asks crier for the bytes on its heap, after a collection.
func (m *million) heap() (int64, error) {
	return m.profile("heap?gc=1&debug=1", "# HeapAlloc = %d")
}

// profile asks crier for a profile and looks for a line of it.
func (m *million) profile(name, format string) (n int64, err error) {
	client := http.Client{Timeout: m.patience}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://" + m.pprof + "/debug/pprof/" + name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Body.Close() }()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), format, &n); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("million: the profile %s has no line %q", name, format)
}

// connect makes all connections, and measures what they cost at rest.
func (m *million) connect() error {
	const settle = 2 * time.Second
	if err := cmp.Or(m.swarm.Grow(fewConns), m.swarm.Rest(settle)); err != nil {
		return err
	}
	few, err := m.state()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := m.swarm.Grow(m.conns); err != nil {
		return err
	}
	took := time.Since(start)
	more := float64(m.conns - fewConns)
	m.tell("connect", metric{"connections", "", float64(m.conns)},
		metric{"time", "s", took.Seconds()}, metric{"rate", "1/s", more / took.Seconds()})
	w, err := m.window()
	if err != nil {
		return err
	}
	if err := m.swarm.Rest(m.rest); err != nil {
		return err
	}
	used, err := w.close()
	if err != nil {
		return err
	}
	many, err := m.state()
	if err != nil {
		return err
	}
	m.tell("idle",
		metric{"own memory per connection", "B", float64(many.memory-few.memory) / more},
		metric{"own memory of all", "MB", float64(many.memory) / 1e6},
		metric{"kernel memory (slab) per connection, both ends", "B", float64(many.slab-few.slab) / more},
		metric{"CPU of the server, pings included", "%", 100 * used.cpu.Seconds() / used.wall.Seconds()},
		metric{"goroutines", "", float64(many.goroutines)},
		metric{fmt.Sprintf("goroutines at %d", fewConns), "", float64(few.goroutines)},
		metric{"threads", "", float64(many.threads)})
	return nil
}

func (m *million) window() (window, error) { return (&round{server: m.server}).openWindow() }

// broadcast sends one message, and returns when every connection has it.
func (m *million) broadcast(step string) error {
	w, err := m.window()
	if err != nil {
		return err
	}
	before, err := m.swarm.Stats()
	if err != nil {
		return err
	}
	if err := m.swarm.Broadcast(1); err != nil {
		return err
	}
	used, err := w.close()
	if err != nil {
		return err
	}
	s, err := m.swarm.Stats()
	if err != nil {
		return err
	}
	n := s.Delivered - before.Delivered
	m.tell(step,
		metric{"connections that got it", "", float64(n)},
		metric{"first receiver after", "ms", millis(s.First)},
		metric{"last receiver after", "ms", millis(s.Last)},
		metric{"from first to last", "s", (s.Last - s.First).Seconds()},
		metric{"packets that loopback dropped (net.core.netdev_max_backlog)", "", float64(used.drops)},
		metric{"CPU/delivery of the server", "us", micros(used.cpu) / float64(max(n, 1))},
		metric{"CPU/delivery of the swarm", "us", micros(s.CPU-before.CPU) / float64(max(n, 1))})
	if n != m.conns {
		return fmt.Errorf("million: %d of %d connections got the message", n, m.conns)
	}
	return nil
}

// pings rests, and counts the pings that come meanwhile.
func (m *million) pings() error {
	w, err := m.window()
	if err != nil {
		return err
	}
	before := m.swarm.Progress().Pings
	if err := m.swarm.Rest(m.keepAlive); err != nil {
		return err
	}
	used, err := w.close()
	if err != nil {
		return err
	}
	c := m.swarm.Progress()
	m.tell("keep-alive",
		metric{"time", "s", used.wall.Seconds()},
		metric{"pings answered", "", float64(c.Pings - before)},
		metric{"connections", "", float64(c.Open)},
		metric{"CPU of the server", "%", 100 * used.cpu.Seconds() / used.wall.Seconds()})
	if c.Open != m.conns {
		return fmt.Errorf("million: %d of %d connections are open", c.Open, m.conns)
	}
	return nil
}

// reconnect ends a share of the connections at once and makes them again.
func (m *million) reconnect() error {
	back := int(storm * float64(m.conns))
	if err := m.swarm.Shrink(m.conns - back); err != nil {
		return err
	}
	w, err := m.window()
	if err != nil {
		return err
	}
	if err := m.swarm.Grow(m.conns); err != nil {
		return err
	}
	used, err := w.close()
	if err != nil {
		return err
	}
	memory, err := m.server.memory()
	if err != nil {
		return err
	}
	m.tell("storm",
		metric{"connections that came back", "", float64(back)},
		metric{"time", "s", used.wall.Seconds()},
		metric{"rate", "1/s", float64(back) / used.wall.Seconds()},
		metric{"CPU/connection of the server", "us", micros(used.cpu) / float64(back)},
		metric{"own memory of all", "MB", float64(memory) / 1e6})
	return nil
}
