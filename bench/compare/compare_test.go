package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fakeMeasure stands for the measuring program. It notes that it was called, lets
// gorilla fail in the second round and node in all, and is broken for -conns 400.
const fakeMeasure = `#!/bin/sh
echo "$*" >> "$0.calls"
case "$*" in
*"-conns 200 -rate 300"*) echo "measure: broken" >&2; exit 1;;
esac
echo "a server writes this" >&2
echo "round 2, gorilla: read $0: too late" >&2
echo "round 1, node: the server ended: exit status 1" >&2
echo "round 2, node: the server ended: exit status 1" >&2
cat <<'END'
{"mode": "x", "servers": [
 {"server": "crier", "figures": [{"name": "p99", "unit": "ms", "median": 2, "rounds": [1, 3]}], "ratio": 1},
 {"server": "gorilla", "figures": [{"name": "p99", "unit": "ms", "median": 2500, "rounds": [2500]}], "ratio": 2500},
 {"server": "node", "figures": []}
]}
END
exit 1
`

func fakeKit(t *testing.T) *kit {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "measure"), []byte(fakeMeasure), 0o755); err != nil {
		t.Fatal(err)
	}
	return &kit{dir: dir, names: []string{"crier", "gorilla", "node"}}
}

// calls returns the measuring program's command lines so far.
func (k *kit) calls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.dir, "measure.calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

// newOptions are those of a run into a new directory.
func newOptions(t *testing.T, cases string) *options {
	t.Helper()
	o := &options{rounds: 2, quick: true, out: t.TempDir(), cases: regexp.MustCompile(cases)}
	if err := os.Mkdir(filepath.Join(o.out, figuresDir), 0o755); err != nil {
		t.Fatal(err)
	}
	return o
}

// measureInto runs the selected cases, as options.run does.
func measureInto(t *testing.T, o *options, k *kit, e environment) (*results, error) {
	t.Helper()
	todo, err := o.selected()
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.openResults(e, nil)
	if err != nil {
		return nil, err
	}
	return r, o.measureAll(context.Background(), k, todo, r)
}

func TestMeasureFailures(t *testing.T) {
	k, o := fakeKit(t), newOptions(t, "^overload-(100|300)$")
	if _, err := measureInto(t, o, k, environment{CPU: "a"}); err != nil {
		t.Fatal(err)
	}
	r, err := loadResults(filepath.Join(o.out, figuresDir, resultsName))
	if err != nil {
		t.Fatal(err)
	}
	c := r.find("overload-100")
	if f, ok := c.server("gorilla").figure("p99"); !ok || f.Median != 2500 {
		t.Errorf("gorilla: got %v, %v", f, ok)
	}
	for name, want := range map[string][]string{
		"crier":   nil,
		"gorilla": {"read measure: too late"}, // without the path of this machine
		"node":    {"the server ended: exit status 1", "the server ended: exit status 1"},
	} {
		if got := c.server(name).Failures; !slices.Equal(got, want) {
			t.Errorf("%s failed: got %q, want %q", name, got, want)
		}
	}
	for _, s := range r.find("overload-300").Servers {
		if len(s.Figures) > 0 || !slices.Equal(s.Failures, []string{"measure: broken"}) {
			t.Errorf("%s where the program is broken: got %+v", s.Name, s)
		}
	}
	if text, err := os.ReadFile(filepath.Join(o.out, figuresDir, resultsName)); err != nil ||
		strings.Contains(string(text), k.dir) {
		t.Errorf("the results tell where they were taken: %v", err)
	}
}

func TestResume(t *testing.T) {
	k, here := fakeKit(t), environment{CPU: "a", Date: "2020-01-01"}
	o := newOptions(t, "^(idle|overload-100)$")
	if _, err := measureInto(t, o, k, here); err != nil {
		t.Fatal(err)
	}
	first := len(k.calls(t))

	o.resume, o.cases = true, regexp.MustCompile("^(idle|handshake|overload-100)$")
	r, err := measureInto(t, o, k, here)
	if err != nil {
		t.Fatal(err)
	}
	if calls := k.calls(t)[first:]; len(calls) != 1 || !strings.HasPrefix(calls[0], "handshake ") {
		t.Errorf("resumed: called %q, want handshake alone", calls)
	}
	var names []string
	for _, c := range r.Cases {
		names = append(names, c.Name)
	}
	if want := []string{"idle", "handshake", "overload-100"}; !slices.Equal(names, want) {
		t.Errorf("cases: got %v, want %v", names, want)
	}

	o.rounds = 5
	before := len(k.calls(t))
	if _, err := measureInto(t, o, k, here); err != nil {
		t.Fatal(err)
	}
	if got := len(k.calls(t)) - before; got != 3 {
		t.Errorf("with other rounds: %d calls, want all 3 cases again", got)
	}
	if _, err := measureInto(t, o, k, environment{CPU: "b"}); err == nil {
		t.Error("resumed on another machine: no error")
	}

	o.resume, o.cases = false, nil
	if r, err = o.openResults(environment{CPU: "b"}, nil); err != nil || len(r.Cases) != 0 {
		t.Errorf("anew: got %v and %v, want no cases", r, err)
	}
}

// TestInterrupted: what was measured before stays.
func TestInterrupted(t *testing.T) {
	k, o := fakeKit(t), newOptions(t, "^idle$")
	r, err := measureInto(t, o, k, environment{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.measureAll(ctx, k, cases(true), r); err == nil {
		t.Error("interrupted: no error")
	}
	r, err = loadResults(filepath.Join(o.out, figuresDir, resultsName))
	if err != nil || len(r.Cases) != 1 {
		t.Errorf("after it: got %+v and %v, want one case", r, err)
	}
}

func TestPlan(t *testing.T) {
	k := &kit{names: []string{"crier", "floor", "floor-c", "node"}}
	all := cases(false)
	burst := all[slices.IndexFunc(all, func(c *benchCase) bool { return c.name == "burst-1" })]
	tests := []struct {
		name   string
		names  []string
		rounds int
		want   []string
	}{
		{"all", k.names, 9, []string{"floor-c", "crier", "floor", "node"}},
		{"one", []string{"node"}, 3, []string{"node"}},
		{"none", []string{"nbio"}, 3, []string{"nbio"}},
		{"nobody", nil, 3, nil},
	}
	for _, tt := range tests {
		got := burst.plan(&kit{names: tt.names}, tt.rounds)
		if !got.same(plan{burst.arguments(), tt.rounds, tt.want}) {
			t.Errorf("%s: got %v, want %v", tt.name, got.Contenders, tt.want)
		}
	}
	var total float64
	for _, c := range all {
		total += c.estimate(&kit{names: contenderNames()}, 3).Minutes()
	}
	if total > 60 {
		t.Errorf("a whole run takes %.0f minutes, want 60 at most", total)
	}
}

// TestCases: each has columns, contenders that exist, and a name of its own.
func TestCases(t *testing.T) {
	names := caseNames()
	for i, c := range cases(false) {
		if columns[c.mode] == nil {
			t.Errorf("%s: mode %s has no columns", c.name, c.mode)
		}
		if slices.Index(names, c.name) != i {
			t.Errorf("%s is there twice", c.name)
		}
		for _, name := range c.contenders {
			if !slices.Contains(contenderNames(), name) {
				t.Errorf("%s: no contender %s", c.name, name)
			}
		}
	}
}

func TestParseArgs(t *testing.T) {
	for _, args := range []string{
		"-rounds 0", "-cases (", "-contenders none", "-from x -resume", "-from x -cases a", "measure", "-wrong",
	} {
		if o, err := parseArgs(strings.Fields(args)); err == nil {
			t.Errorf("%s: got %+v, want an error", args, o)
		}
	}
	o, err := parseArgs(strings.Fields("-rounds 5 -cases ^f -contenders crier,node -resume"))
	if err != nil {
		t.Fatal(err)
	}
	todo, err := o.selected()
	if err != nil || len(todo) != 3 || o.rounds != 5 || !slices.Equal(o.contenders, []string{"crier", "node"}) {
		t.Errorf("got %+v, %v, %v", o, todo, err)
	}
	o.cases = regexp.MustCompile("none")
	if _, err := o.selected(); err == nil {
		t.Error("no case matches: no error")
	}
}

// TestBuildKit: what nobody asked for may be missing.
func TestBuildKit(t *testing.T) {
	defer func(old map[string]func(context.Context, string, string) error) { builders = old }(builders)
	built := 0
	builders = map[string]func(context.Context, string, string) error{
		"node": func(ctx context.Context, _, dir string) error { return command(ctx, dir, "no-such-program") },
	}
	for _, name := range []string{"measure", "crier", "floor", "peers"} {
		builders[name] = func(context.Context, string, string) error { built++; return nil }
	}
	k, err := buildKit(t.Context(), "", t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := contenderNames()[:9]; !slices.Equal(k.names, want) || built != 4 {
		t.Errorf("built %d for %v, want 4 for %v", built, k.names, want)
	}
	if want := []string{"node: there is no no-such-program"}; !slices.Equal(k.leftOut, want) {
		t.Errorf("left out: got %q, want %q", k.leftOut, want)
	}
	if _, err := buildKit(t.Context(), "", t.TempDir(), []string{"crier", "node"}); err == nil {
		t.Error("node was asked for and is not there: no error")
	}
}
