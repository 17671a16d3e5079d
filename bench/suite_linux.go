package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

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
	{name: "churn/conns=10000", mode: "handshake", conns: 10000, units: churnUnits},
	{name: "churn/conns=1000", short: true, mode: "handshake", conns: 1000, units: churnUnits},
}

var (
	idleUnits   = map[string]unit{"memory/conn": {"B/conn", 1}, "threads": {"threads", 1}}
	fanoutUnits = map[string]unit{"CPU/delivery": {"ns/delivery", 1e3}, "deliveries": {"deliveries/s", 1}}
	churnUnits  = map[string]unit{"CPU/handshake": {"ns/handshake", 1e3}, "handshakes": {"handshakes/s", 1}}
)

// spareFDs is what a process has open besides the connections.
const spareFDs = 100

// Run runs the suite on crier as sub-benchmarks of b. Each starts a fresh crier process
// on the first core that this process may use, and loads it from the last; this
// process stays bound to that one. ns/delivery and ns/handshake are CPU time of the
// server, the kernel's included; p50-ns and p99-ns are latencies from the time when a
// message was due. With -short only the quick ones run, for a shorter time. What needs
// more file descriptors than the hard limit allows is skipped.
func Run(b *testing.B) {
	crier := filepath.Join(b.TempDir(), "crier")
	if out, err := exec.Command("go", "build", "-o", crier, "github.com/crier-ws/crier/cmd/crier").CombinedOutput(); err != nil {
		b.Fatalf("go build of crier: %v\n%s", err, out)
	}
	first, last, err := cores()
	if err != nil {
		b.Fatal(err)
	}
	if err := pin(last); err != nil {
		b.Fatal(err)
	}
	// Go has raised the soft limit to the hard one, see package os; crier does too.
	var fds unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &fds); err != nil {
		b.Fatal(os.NewSyscallError("getrlimit", err))
	}
	for _, bm := range suite {
		if testing.Short() && !bm.short {
			continue
		}
		o := defaultOptions()
		o.mode, o.conns, o.size, o.senders = bm.mode, bm.conns, bm.size, max(bm.senders, 1)
		o.serverCPU, o.clientCPU = strconv.Itoa(first), last
		m, err := o.complete()
		if err != nil {
			b.Fatalf("%s: %v", bm.name, err)
		}
		if testing.Short() {
			o.duration = min(o.duration, time.Second)
		}
		b.Run(bm.name, func(b *testing.B) {
			// The server dies with the thread that starts it, see startServer.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if need := uint64(o.conns + spareFDs); fds.Cur < need {
				b.Skipf("needs %d file descriptors, the limit is %d (ulimit -Hn)", need, fds.Cur)
			}
			// What the test binary was given for its own scheduler is not for the server.
			c := contender{"crier", "env -u GOMAXPROCS " + crier + " --listen 127.0.0.1:{port} --log-level error"}
			figures := map[string]float64{}
			n := 0.0
			for b.Loop() {
				metrics, err := measure(o, m, c)
				if err != nil {
					b.Fatal(err)
				}
				n++
				for _, f := range metrics {
					figures[f.Name] += f.Value
				}
			}
			b.ReportMetric(0, "ns/op") // The time that a measurement takes says nothing.
			for name, u := range bm.units {
				sum, ok := figures[name]
				if !ok {
					b.Fatalf("mode %s has no figure %q", o.mode, name)
				}
				b.ReportMetric(sum/n*u.factor, u.name)
			}
		})
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
