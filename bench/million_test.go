package bench

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/doctor"
)

func TestFit(t *testing.T) {
	limits := []doctor.Limit{
		{Name: "files", Have: 20000, Need: doctor.Need{Fixed: 100, Each: 1}, Raise: "ulimit -Hn {}"},
		{Name: "all.files", Have: math.MaxInt64, Need: doctor.Need{Each: 2}, Raise: "sysctl -w all.files={}"},
		{Name: "memory", Have: 30 << 20, Need: doctor.Need{Fixed: 10 << 20, Each: 2 << 10}, Unit: "B", Raise: "(a larger machine)"},
		{Name: "ports", Have: 3000, Need: doctor.Need{Fixed: 2500}, Raise: "sysctl -w ports='1024 65535'"},
	}
	tests := []struct {
		name      string
		n, want   int
		says, not []string
	}{
		{"all fit", 5000, 5000, []string{"20000", "no limit"}, []string{"ulimit", "larger", "These limits"}},
		{"memory binds", 15000, 10240, []string{"(a larger machine)", "allow 10240 of 15000"}, []string{"ulimit"}},
		{"two bind", 50000, 10240, []string{"19900", "ulimit -Hn 50100", "10240", "(a larger machine)"}, []string{"sysctl"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			got, err := fit(&b, tt.n, limits)
			if err != nil || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
			for _, s := range tt.says {
				if !strings.Contains(b.String(), s) {
					t.Errorf("there is no %q in\n%s", s, b.String())
				}
			}
			for _, s := range tt.not {
				if strings.Contains(b.String(), s) {
					t.Errorf("there is %q in\n%s", s, b.String())
				}
			}
		})
	}
	limits[3].Have = 100
	if got, _ := fit(new(bytes.Buffer), 10, limits); got != 0 {
		t.Errorf("too few ports: got %d, want 0", got)
	}
}

func TestLimitsOfThisHost(t *testing.T) {
	limits, err := readLimits()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]doctor.Limit{}
	for _, l := range limits {
		names[l.Name] = l
	}
	// Others are not shown everywhere.
	for _, name := range []string{"open files of a process", "memory", "fs.nr_open", "fs.file-max", "net.ipv4.ip_local_port_range"} {
		if l := names[name]; l.Have < 1000 || l.Raise == "" {
			t.Errorf("%s: got %+v", name, l)
		}
	}
}

// TestMillion runs all steps with the fewest connections that they take, against a real
// crier.
func TestMillion(t *testing.T) {
	limits, err := readLimits()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if n, err := fit(&text, 2*fewConns, limits); n < 2*fewConns {
		if os.Getenv("CI") != "" {
			t.Fatal(text.String())
		}
		t.Skipf("the limits of this host allow %d connections, %v\n%s", n, err, text.String())
	}
	crier, err := criertest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// The server dies with the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	m := &million{
		out: &out, crier: crier, conns: 2 * fewConns, threads: 2, patience: 30 * time.Second,
		ping: time.Second, rest: time.Second, keepAlive: 3 * time.Second,
	}
	if err := m.run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	figures := map[string]float64{}
	for _, f := range m.found {
		figures[f.Name] = f.Value
		if !strings.Contains(out.String(), f.Name) {
			t.Errorf("%s was not printed", f.Name)
		}
	}
	exact := map[string]float64{
		"connect: connections": 2000, "broadcast: connections that got it": 2000,
		"keep-alive: connections": 2000, "storm: connections that came back": 200,
		"broadcast after the storm: connections that got it": 2000,
	}
	for name, want := range exact {
		if figures[name] != want {
			t.Errorf("%s: got %v, want %v", name, figures[name], want)
		}
	}
	// A few workers more or less may be at work.
	if n, few := figures["idle: goroutines"], figures["idle: goroutines at 1000"]; n > few+10 || n == 0 {
		t.Errorf("got %v goroutines, %v at 1000 connections, want about as many", n, few)
	}
	if first, last := figures["broadcast: first receiver after"], figures["broadcast: last receiver after"]; first <= 0 || last < first {
		t.Errorf("the first receiver got it after %v ms, the last after %v ms", first, last)
	}
	if figures["keep-alive: pings answered"] == 0 {
		t.Error("no pings")
	}
}
