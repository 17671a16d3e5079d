package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	parts := map[string]string{"a": "new a\n", "b-1": "new b"}
	tests := []struct {
		name, text, want string
	}{
		{"no markers", "prose\n", "prose\n"},
		{"empty", "", ""},
		{"new", "x\n<!-- compare: a -->\n<!-- /compare -->\ny", "x\n<!-- compare: a -->\n\nnew a\n\n<!-- /compare -->\ny"},
		{"replaced", "<!-- compare: b-1 -->\nold\n\nold\n<!-- /compare -->\n", "<!-- compare: b-1 -->\n\nnew b\n\n<!-- /compare -->\n"},
		{"both", "<!-- compare: a -->\n<!-- /compare -->\n-\n<!-- compare: b-1 -->\n<!-- /compare -->\n",
			"<!-- compare: a -->\n\nnew a\n\n<!-- /compare -->\n-\n<!-- compare: b-1 -->\n\nnew b\n\n<!-- /compare -->\n"},
		{"other comments", "<!-- TODO -->\n", "<!-- TODO -->\n"},
		{"in a line", "say `<!-- compare: a -->` there\n", "say `<!-- compare: a -->` there\n"},
	}
	for _, tt := range tests {
		got, err := fill(tt.text, parts)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %q and %v, want %q", tt.name, got, err, tt.want)
		}
		if again, err := fill(got, parts); err != nil || again != got {
			t.Errorf("%s, filled twice: got %q and %v, want %q", tt.name, again, err, got)
		}
	}
	for name, text := range map[string]string{
		"unknown":  "<!-- compare: c -->\n<!-- /compare -->\n",
		"open":     "<!-- compare: a -->\ntext\n",
		"no start": "text\n<!-- /compare -->\n",
		"nested":   "<!-- compare: a -->\n<!-- compare: b-1 -->\n<!-- /compare -->\n",
	} {
		if got, err := fill(text, parts); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

// sample has a case of each kind of plot: one contender whole, one with a round that
// failed, one that failed.
func sample() *results {
	r := &results{Environment: environment{CPU: "a <cpu>", Cores: 2, Kernel: "6", Go: "1"}, LeftOut: []string{"coder: no_thing"}}
	for _, c := range cases(false) {
		key := columns[c.mode][0].figure
		r.put(caseResult{
			Name: c.name, Mode: c.mode, Conns: c.conns, Rate: c.rate,
			plan: c.plan(&kit{names: []string{"crier", "node", "gobwas"}}, 3),
			Servers: []server{
				{Name: "crier", Ratio: 1, Figures: []figure{
					{Name: key, Median: 2000, Rounds: []float64{1000, 2000, 2500.4}},
					{Name: "deliveries", Median: 1e6, Rounds: []float64{1e6}}, {Name: "p50", Median: 3, Rounds: []float64{3}},
				}},
				{Name: "node", Ratio: 0.123, Figures: []figure{{Name: key, Median: 0.12345, Rounds: []float64{0.12345}}},
					Failures: []string{"a|b", "a|b"}},
				{Name: "gobwas", Failures: []string{"<dead>"}},
			},
		})
	}
	return r
}

func TestTable(t *testing.T) {
	got := sample().find("handshake").table(false)
	want := `|  | CPU per handshake [µs] | range | ratio to crier | handshakes per second | waited [%] |
|---|--:|--:|--:|--:|--:|
| crier | 2,000 | 1,000 – 2,500 | 1.00 | – | – |
| node <sup>1</sup> | 0.123 | one round | 0.12 | – | – |
| gobwas <sup>2</sup> | failed |  |  |  |  |

` + "`measure handshake -conns 10000`" + `; 3 rounds.

<sup>1</sup> 2 of 3 rounds failed: a\|b

<sup>2</sup> &lt;dead&gt;
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	nobody := caseResult{Name: "idle", Mode: "idle"}
	if got := nobody.table(false); got != nobodyMeasured {
		t.Errorf("without contenders: got %q", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", -1: "-1", 0.0123456: "0.0123", 12.345: "12.3", 99.96: "100", 123.4: "123",
		1234.5: "1,234", 1234567: "1,234,567", -12345: "-12,345", -0.5: "-0.5",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v): got %q, want %q", v, got, want)
		}
	}
}

// TestPublish fills the page that is in the repository, and all its images are there.
func TestPublish(t *testing.T) {
	out := t.TempDir()
	page := filepath.Join(out, pageName)
	o := &options{out: out}
	if err := o.openOut(filepath.Join("..", "..")); err != nil {
		t.Fatal(err)
	}
	if err := sample().publish(out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), notMeasured); got != 0 {
		t.Errorf("%d parts are not filled", got)
	}
	for _, want := range []string{"a <cpu>, 2 cores, Linux 6, Go 1", `Left out: coder: no\_thing.`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, name := range caseNames() {
		if !strings.Contains(string(text), "<!-- compare: "+name+" -->") {
			t.Errorf("the page has no place for %s", name)
		}
	}
	for _, p := range pictures {
		file := figuresDir + "/" + p.name + ".svg"
		if !strings.Contains(string(text), "]("+file+")") {
			t.Errorf("the page does not show %s", file)
		}
		if _, err := os.Stat(filepath.Join(out, file)); err != nil {
			t.Error(err)
		}
	}
	if err := (&results{}).publish(out); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(page)
	if want := len(pictures) + len(caseNames()) + 1; err != nil || strings.Count(string(text), notMeasured) != want {
		t.Errorf("without results: %d parts and %v, want %d without figures", strings.Count(string(text), notMeasured), err, want)
	}
	if plots, _ := filepath.Glob(filepath.Join(out, figuresDir, "*.svg")); len(plots) > 0 {
		t.Errorf("without results: old plots stay: %v", plots)
	}
}
