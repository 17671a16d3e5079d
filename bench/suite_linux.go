package bench

import (
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"golang.org/x/sys/unix"
)

// benchmark is one sub-benchmark: a mode with its settings, and which of its figures
// are reported under which unit.
type benchmark struct {
	name    string
	short   bool // runs with -short as well
	mode    string
	conns   int
	size    int
	senders int
	units   map[string]unit
}

// callsPerDelivery is the one figure that a mode may lack.
const callsPerDelivery = "syscalls/delivery"

// unit is how a figure is reported: its value times factor.
type unit struct {
	name   string
	factor float64
}

// suite is what Run runs. What is 0 is the mode's default.
var suite = []benchmark{
	{name: "idle/conns=1000", short: true, mode: "idle", conns: 1000, units: idleUnits},
	{name: "idle/conns=18000", mode: "idle", conns: 18000, units: idleUnits},
	{name: "fanout/conns=1000/size=64", short: true, mode: "fanout", conns: 1000, units: fanoutUnits},
	{name: "fanout/conns=1000/size=64/senders=100",
		mode: "fanout", conns: 1000, senders: 100, units: fanoutUnits},
	{name: "fanout/conns=1000/size=1024", mode: "fanout", conns: 1000, size: 1 << 10, units: fanoutUnits},
	{name: "fanout/conns=1000/size=16384", short: true,
		mode: "fanout", conns: 1000, size: 16 << 10, units: fanoutUnits},
	{name: "fanout/conns=5000/size=64", mode: "fanout", conns: 5000, units: fanoutUnits},
	{name: "fanout/conns=18000/size=64", mode: "fanout", conns: 18000, units: fanoutUnits},
	{name: "burst/conns=1000/burst=100", short: true, mode: "burst", conns: 1000, units: fanoutUnits},
	{name: "burst/conns=1000/burst=100/senders=100",
		mode: "burst", conns: 1000, senders: 100, units: fanoutUnits},
	{name: "slow/conns=2000/stalled=200", mode: "stalled", units: map[string]unit{
		"growth": {"growth-B", 1e6}, "healthy whole": {"whole", 1}, "stalled cut": {"closed", 1},
	}},
	{name: "rate/conns=1000/rate=3000", short: true, mode: "overload", units: map[string]unit{
		"p50": {"p50-ns", 1e6}, "p99": {"p99-ns", 1e6}, "missing": {"missing", 1}, "CPU/delivery": {"ns/delivery", 1e3},
	}},
	{name: "handshake/conns=10000", mode: "handshake", conns: 10000, units: handshakeUnits},
	{name: "handshake/conns=1000", short: true, mode: "handshake", conns: 1000, units: handshakeUnits},
	{name: "churn/conns=5000/rate=1000", short: true, mode: "churn", units: map[string]unit{
		"p50": {"p50-ns", 1e6}, "p99": {"p99-ns", 1e6}, "renewed": {"renewed", 1}, "busy": {"busy-%", 1},
	}},
}

var (
	idleUnits   = map[string]unit{"memory/conn": {"B/conn", 1}, "threads": {"threads", 1}}
	fanoutUnits = map[string]unit{"CPU/delivery": {"ns/delivery", 1e3}, "deliveries": {"deliveries/s", 1},
		"swarm": {"swarm-ns/delivery", 1e3}, callsPerDelivery: {callsPerDelivery, 1}}
	handshakeUnits = map[string]unit{"CPU/handshake": {"ns/handshake", 1e3}, "handshakes": {"handshakes/s", 1}}
)

// spareFDs is what a process has open besides the connections.
const spareFDs = 100

// Run runs the suite on crier as sub-benchmarks of b. Each starts a fresh crier process
// on the first core that this process may use, and loads it from the last; this
// process stays bound to that one. ns/delivery and ns/handshake are CPU time of the
// server, the kernel's included, and swarm-ns/delivery what the clients took: where that
// is more, deliveries/s is not the server's limit; p50-ns and p99-ns are latencies from the time when a
// message was due; syscalls/delivery counts calls that move bytes or wait for sockets,
// where strace(1) is installed and permitted. million runs as many connections as the host's limits
// allow, and logs which those are. With -short only the quick ones run, for a shorter
// time. What needs more file descriptors than the hard limit allows is skipped.
func Run(b *testing.B) {
	crier, err := criertest.Build(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	first, last, err := cores()
	if err != nil {
		b.Fatal(err)
	}
	if err := pin(last); err != nil {
		b.Fatal(err)
	}
	for _, bm := range suite {
		if testing.Short() && !bm.short {
			continue
		}
		o := defaultOptions()
		o.mode, o.conns, o.size, o.senders = bm.mode, bm.conns, bm.size, max(bm.senders, 1)
		o.serverCPU, o.clientCPU, o.syscalls = strconv.Itoa(first), last, true
		m, err := o.complete()
		if err != nil {
			b.Fatalf("%s: %v", bm.name, err)
		}
		if testing.Short() {
			o.duration = min(o.duration, time.Second)
		}
		b.Run(bm.name, func(b *testing.B) { bm.run(b, o, m, crier) })
	}
	b.Run("million", func(b *testing.B) { runMillion(b, crier, strconv.Itoa(first)) })
}

// run is the sub-benchmark.
func (bm *benchmark) run(b *testing.B, o *options, m *mode, crier string) {
	// The server dies with the thread that starts it, see startServer.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Go has raised the soft limit to the hard one, see package os; crier does too.
	var fds unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &fds); err != nil {
		b.Fatal(os.NewSyscallError("getrlimit", err))
	}
	if need := uint64(o.conns + spareFDs); fds.Cur < need {
		b.Skipf("needs %d file descriptors, the limit is %d (ulimit -Hn)", need, fds.Cur)
	}
	// What the test binary was given for its own scheduler is not for the server.
	c := contender{"crier", "env -u GOMAXPROCS " + crier + " --listen 127.0.0.1:{port} --log-level error"}
	sums, counts := map[string]float64{}, map[string]float64{}
	for b.Loop() {
		metrics, err := measure(o, m, c)
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range metrics {
			sums[f.Name] += f.Value
			counts[f.Name]++
		}
	}
	b.ReportMetric(0, "ns/op") // The duration of a measurement is no result.
	for name, u := range bm.units {
		switch {
		case counts[name] > 0:
			b.ReportMetric(sums[name]/counts[name]*u.factor, u.name)
		case name != callsPerDelivery: // which needs strace(1)
			b.Fatalf("mode %s has no figure %q", o.mode, name)
		}
	}
}

// runMillion holds a million connections, or as many as fit.
func runMillion(b *testing.B, crier, serverCPU string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := &million{
		out: io.Discard, crier: crier, conns: 1_000_000, threads: 1, serverCPU: serverCPU,
		ping: 5 * time.Second, rest: 2 * time.Second, keepAlive: 6 * time.Second, patience: time.Minute,
	}
	if testing.Short() {
		m.conns, m.keepAlive = 5*fewConns, time.Second
	}
	limits, err := readLimits()
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	if m.conns, err = fit(&text, m.conns, limits); err != nil {
		b.Fatal(err)
	}
	b.Log("\n" + text.String())
	if m.conns < 2*fewConns {
		b.Skipf("needs %d connections", 2*fewConns)
	}
	for b.Loop() {
		if err := m.run(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	units := map[string]unit{
		"connect: connections": {"conns", 1}, "connect: rate": {"connects/s", 1},
		"idle: own memory per connection":                      {"B/conn", 1},
		"idle: kernel memory (slab) per connection, both ends": {"kernel-B/conn", 1},
		"idle: goroutines":                                     {"goroutines", 1},
		"broadcast: from first to last":                        {"first-to-last-ns", 1e9},
		"broadcast: CPU/delivery of the server":                {"ns/delivery", 1e3},
		"storm: rate":                                          {"reconnects/s", 1},
	}
	for _, f := range m.found {
		if u, ok := units[f.Name]; ok {
			b.ReportMetric(f.Value*u.factor, u.name) // of the last run
		}
	}
}

// cores returns the first and the last core that this thread may use.
func cores() (first, last int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, 0, os.NewSyscallError("sched_getaffinity", err)
	}
	first = -1
	for cpu, left := 0, set.Count(); left > 0; cpu++ {
		if !set.IsSet(cpu) {
			continue
		}
		if left--; first < 0 {
			first = cpu
		}
		last = cpu
	}
	return first, last, nil
}
