package swarm

import (
	"bufio"
	"flag"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
)

func TestMain(m *testing.M) {
	Child()
	if os.Getenv(parentEnv) != "" {
		parent()
	}
	// A child that is built with the race detector sleeps for a second as it ends.
	_ = os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // Fuzzing leaves goroutines of its own behind.
	}
	os.Exit(leaktest.Main(m))
}

// patience is how long anything may take before a test gives up. It is no measure:
// nothing takes that long unless it is broken.
const patience = 20 * time.Second

// size is that of all messages in tests, unless they say otherwise.
const size = 64

// within polls until something holds.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: still not %s", patience, what)
		}
	}
}

// raw accepts clients and runs a script on each, which may go on until its connection
// ends.
func raw(t *testing.T, script func(client int, c net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	// Stopped by the cleanup, which waits for it.
	all.Go(func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Ends with the client, which is closed before the cleanup runs.
			all.Go(func() {
				defer c.Close()
				script(i, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// fake is raw with clients that are upgraded and greeted with "hi".
func fake(t *testing.T, script func(client int, c net.Conn)) netip.AddrPort {
	t.Helper()
	return raw(t, func(i int, c net.Conn) {
		request := readRequest(c)
		if len(request) == 0 {
			return
		}
		put(c, []byte(switching+"\x81\x02hi"))
		script(i, c)
	})
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n"

// put writes pieces. A client that is gone is noticed by who reads.
func put(c net.Conn, pieces ...[]byte) {
	for _, p := range pieces {
		_, _ = c.Write(p)
	}
}

// readRequest returns the lines of a request.
func readRequest(c net.Conn) (lines []string) {
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil || line == "\r\n" {
			return lines
		}
		lines = append(lines, line)
	}
}

// untilEnd reads until the client ends the connection.
func untilEnd(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// receive waits for n messages of the client, of size bytes.
func receive(c net.Conn, n int) {
	_, _ = io.CopyN(io.Discard, c, int64(n*len(message{}.appendFrame(nil, size))))
}

// afterMessages is a script: after n messages from the client frames come, and then
// nothing more.
func afterMessages(n int, frames ...[]byte) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		receive(c, n)
		put(c, slices.Concat(frames...))
		untilEnd(c)
	}
}

// config is for one loop and a fake server.
func config(target netip.AddrPort, conns int) Config {
	return Config{Target: target, Greeting: "hi", Conns: conns, Size: size, Patience: patience}
}

// start returns a swarm without connections.
func start(t *testing.T, cfg Config) *Swarm {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// grown returns a swarm with all its connections.
func grown(t *testing.T, cfg Config) *Swarm {
	t.Helper()
	s := start(t, cfg)
	must(t, s.Grow(cfg.Conns))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// statsOf returns a swarm's stats.
func statsOf(t *testing.T, s *Swarm) *Stats {
	t.Helper()
	stats, err := s.Stats()
	must(t, err)
	return stats
}

// restUntil serves the connections until the counts are as they should.
func restUntil(t *testing.T, s *Swarm, holds func(Counts) bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for c := statsOf(t, s).Counts; !holds(c); c = statsOf(t, s).Counts {
		if time.Now().After(end) {
			t.Fatalf("after %v: still %+v", patience, c)
		}
		must(t, s.Rest(time.Millisecond))
	}
}

// crier starts a real broadcaster on an address and shuts it down after the test.
func crier(t testing.TB, address string, cfg broadcast.Config) netip.AddrPort {
	t.Helper()
	cfg.Greeting = broadcast.DefaultGreeting
	_, addr := servertest.Start(t, address, cfg)
	return addr
}

// unloaded is a crier with nothing set.
func unloaded(t *testing.T) netip.AddrPort { return crier(t, "127.0.0.1:0", broadcast.Config{}) }

// forCrier is a swarm's configuration for it.
func forCrier(target netip.AddrPort, conns int) Config {
	cfg := config(target, conns)
	cfg.Greeting = broadcast.DefaultGreeting
	return cfg
}

// kinds of swarms: they differ in nothing that a caller sees.
var shapes = []struct {
	name                          string
	conns, threads, per, children int
}{
	{"one loop", 20, 1, 0, 0},
	{"three threads", 20, 3, 0, 0},
	{"two processes", 20, 1, 10, 2},
	{"three processes with two threads", 20, 6, 7, 3},
}

// forShapes runs a test with swarms of all kinds that have connected to a server.
func forShapes(t *testing.T, change func(*Config), test func(t *testing.T, s *Swarm)) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			cfg := forCrier(unloaded(t), shape.conns)
			cfg.Senders, cfg.Threads, cfg.PerProcess = 4, shape.threads, shape.per
			change(&cfg)
			s := grown(t, cfg)
			if got := len(processes(s)); got != shape.children {
				t.Fatalf("got %d child processes, want %d", got, shape.children)
			}
			test(t, s)
		})
	}
}

// processes returns the child processes of a swarm.
func processes(s *Swarm) (all []*process) {
	for _, m := range s.members {
		if p, ok := m.(*process); ok {
			all = append(all, p)
		}
	}
	return all
}

// footprint is what must not grow.
func footprint() (fds, goroutines int) { return leaktest.FDs(), runtime.NumGoroutine() }
