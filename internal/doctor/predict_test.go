package doctor

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// found is a measurement on a quiet host.
func found() Measured {
	return Measured{Conns: 8000, halfConns: 4000, halfOwn: 4e6, live: 100,
		socket: []float64{4100, 3900, 4000, 4000}, cpu: []float64{5e-6, 4e-6, 6e-6}}
}

func TestPredict(t *testing.T) {
	h := on(t, map[string]string{"sys/fs/cgroup/cpu.max": "200000 100000"})
	near := func(what string, got, want Range) {
		t.Helper()
		for _, v := range [][2]float64{{got.Low, want.Low}, {got.Likely, want.Likely}, {got.High, want.High}} {
			if math.Abs(v[0]-v[1]) > 1e-9*math.Abs(v[1]) {
				t.Errorf("%s: got %+v, want %+v", what, got, want)
				return
			}
		}
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMAXPROCS", "")
	p := h.Predict(Goal{Conns: 104_000}, found())
	near("own", p.Own, Range{4e6 + 100e5, 4e6 + 125e5, 4e6 + 156.25e5})
	near("kernel", p.Kernel, Range{3600 * 104e3, 4000 * 104e3, 4600 * 104e3})
	near("both", p.Memory, Range{388.4e6, 432.5e6, 498.025e6})
	near("delivery", *p.Delivery, Range{2e-6, 5e-6, 7.5e-6})
	near("broadcast on two processors", *p.Broadcast, Range{0.104, 0.26, 0.39})
	if p.Measured != 8000 || p.Processors != 2 {
		t.Errorf("got %+v", p)
	}

	t.Setenv("GOMAXPROCS", "1")
	if p := h.Predict(Goal{Conns: 1}, found()); p.Processors != 1 {
		t.Errorf("GOMAXPROCS=1: got %v processors", p.Processors)
	}
	t.Setenv("GOGC", "100")
	near("with another collector", h.Predict(Goal{Conns: 1}, found()).OwnEach, Range{160, 200, 250})
	t.Setenv("GOGC", "")
	m := found()
	m.socket = []float64{3000, 6000, 4000}
	near("kernel on a noisy host", h.Predict(Goal{Conns: 1}, m).KernelEach, Range{3000, 4000, 6000})
	near("fewer than were measured", h.Predict(Goal{Conns: 3000}, m).Own, Range{4e6, 4e6, 4e6})

	// The certainty names figures that were not measured, or not reliably.
	for _, tt := range []struct {
		name string
		m    Measured
		says string
	}{
		{"nothing", Measured{}, "nothing was measured"},
		{"others", Measured{Conns: 8000, halfConns: 4000, halfOwn: 4e6, live: 100, socket: []float64{4000}},
			"run it again when the host is quiet"},
		{"few", Measured{Conns: 500, halfConns: 250, halfOwn: 3e6, live: 1000, socket: []float64{4000, 4000},
			cpu: []float64{1}}, "fewer than 2000"},
	} {
		p := h.Predict(Goal{Conns: million}, tt.m)
		if said := strings.Join(p.Certainty, "\n"); !strings.Contains(said, tt.says) || strings.Count(said, "\n") != 2 {
			t.Errorf("%s: got %q, want %q and three in all", tt.name, said, tt.says)
		}
		if p.Own.Likely < 100e6 || p.Own.Likely > 200e6 || p.Kernel.Likely < 3.5e9 || p.Kernel.Likely > 4.5e9 ||
			(p.Broadcast == nil) != (tt.m.cpu == nil) {
			t.Errorf("%s: got %+v", tt.name, p)
		}
	}
}

// TestExamine checks that the memory of the host is compared with the prediction.
func TestExamine(t *testing.T) {
	h := on(t, map[string]string{"proc/meminfo": "MemAvailable: 4000000 kB\n"})
	w := Goal{Conns: 950_000, Reserved: 100}
	verdict := func(socket float64) Verdict {
		t.Helper()
		m := found()
		m.socket = []float64{socket, socket}
		r, err := h.Examine(w, m)
		if err != nil {
			t.Fatal(err)
		}
		if r.Fits == (r.Allows < w.Conns) || !r.Fits && r.Binds != "memory" {
			t.Errorf("fits: %v, allows %d by %s", r.Fits, r.Allows, r.Binds)
		}
		return r.Checks[1].Verdict
	}
	for socket, want := range map[float64]Verdict{3000: OK, 4000: Advice, 5000: Small} {
		if got := verdict(socket); got != want {
			t.Errorf("%.0f B a socket: got %s, want %s", socket, got, want)
		}
	}
}

// TestReportJSON checks the JSON names that programs rely on.
func TestReportJSON(t *testing.T) {
	r, err := on(t, nil).Examine(Goal{Conns: 10, Reserved: 100}, found())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Connections int
		Fits        bool
		Allows      int
		Binds       string
		Checks      []map[string]any
		Prediction  map[string]any
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Connections != 10 || !got.Fits || got.Allows == 0 ||
		got.Binds == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, c := range got.Checks {
		for _, name := range []string{"name", "what", "found", "needed", "allows", "verdict", "note", "change"} {
			if _, ok := c[name]; !ok {
				t.Errorf("%v has no %s", c["name"], name)
			}
		}
		if _, ok := c["change"].([]any); !ok {
			t.Errorf("%v: change is %v, want a list", c["name"], c["change"])
		}
	}
	for _, name := range []string{"own_memory", "own_memory_per_connection", "kernel_memory",
		"kernel_memory_per_connection", "memory", "cpu_per_delivery", "broadcast"} {
		v, _ := got.Prediction[name].(map[string]any)
		if v["low"] == nil || v["likely"] == nil || v["high"] == nil {
			t.Errorf("%s: got %v, want a range", name, v)
		}
	}
	for _, name := range []string{"connections", "measured_connections", "processors", "how_sure"} {
		if got.Prediction[name] == nil {
			t.Errorf("the prediction has no %s", name)
		}
	}
}
