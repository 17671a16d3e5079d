// Package imports checks which packages of this module import which others.
package imports

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/crier-ws/crier/"

// rules are all packages of the module, from the lowest layer up, each with the packages of the module that it imports,
// tests apart. A package may import packages of rows above its own only.
var rules = []struct{ pkg, imports string }{
	// What knows nothing of crier.
	{"clients/go", ""},
	{"clients/js", ""},
	{"internal/clidoc", ""},
	{"internal/criertest", ""},
	{"internal/doccode", ""},
	{"internal/docfiles", ""},
	{"internal/flags", ""},
	{"internal/httpjson", ""},
	{"internal/leaktest", ""},
	{"internal/logqueue", ""},
	{"internal/logtest", ""},
	{"internal/procfs", ""},
	{"internal/queryparam", ""},
	{"internal/swarm", ""},
	{"internal/term", ""},
	{"internal/tool", ""},
	{"internal/webpage", ""},
	{"internal/load", "internal/flags internal/swarm internal/term"},

	// The server, and what embedders may put around it.
	{"netpoll", ""},
	{"broadcast/framelog", ""},
	{"broadcast", "broadcast/framelog internal/queryparam netpoll"},
	{"auth", "broadcast internal/queryparam"},
	{"metrics", "broadcast internal/httpjson"},
	{"live", "broadcast clients/js internal/httpjson internal/webpage"},
	{"admin", "broadcast internal/httpjson live"},
	{"cluster/presence", "broadcast"},
	{"cluster", "broadcast cluster/presence"},

	// The command.
	{"internal/doctor", "broadcast internal/procfs internal/swarm"},
	{"internal/frontpage", "broadcast internal/webpage"},
	{"internal/servertest", "broadcast"},
	{"cmd/crier", "admin auth broadcast clients/go cluster cluster/presence internal/clidoc internal/doctor internal/flags " +
		"internal/frontpage internal/httpjson internal/load internal/logqueue internal/swarm " +
		"internal/term live metrics"},

	// Examples, benchmarks and suites, which nothing of the above may import.
	{"examples/chat", "clients/js"},
	{"examples/cluster", ""},
	{"examples/embed", ""},
	{"examples/embed/mux", "broadcast"},
	{"examples/embed/run", "broadcast"},
	{"examples/embed/send", "broadcast"},
	{"examples/embed/values", "broadcast"},
	{"bench/hostile", ""},
	{"bench", "bench/hostile internal/criertest internal/doctor internal/procfs internal/swarm"},
	{"bench/measure", "bench"},
	{"bench/million", "bench internal/swarm"},
	{"bench/soak", "bench internal/swarm"},
	{"bench/swarm", "internal/load internal/swarm"},
	{"test/conformance", ""},
	{"test/deploy", ""},
	{"test/docs", ""},
	{"test/imports", ""},
	{"test/protocol", ""},
	{"test/scale", ""},
	{"test/stall", "admin broadcast metrics"},
}

// TestImports: the packages import what rules say, and rules has no arrow back up.
func TestImports(t *testing.T) {
	got := list(t)
	var layers []string
	for _, rule := range rules {
		want := strings.Fields(rule.imports)
		for _, pkg := range want {
			if !slices.Contains(layers, pkg) {
				t.Errorf("rules: %s imports %s, which is in no row above it", rule.pkg, pkg)
			}
		}
		imports, ok := got[rule.pkg]
		switch {
		case !ok:
			t.Errorf("rules: there is no package %s", rule.pkg)
		case !slices.Equal(imports, want):
			t.Errorf("%s imports %v, want %v: keep it, or change its row in rules", rule.pkg, imports, want)
		}
		layers = append(layers, rule.pkg)
	}
	for pkg := range got {
		if !slices.Contains(layers, pkg) {
			t.Errorf("rules has no row for the package %s: add one", pkg)
		}
	}
}

// TestProductImportsNoTools: only benchmarks, examples and suites import benchmarks, examples and suites.
func TestProductImportsNoTools(t *testing.T) {
	for pkg, imports := range list(t) {
		if isTool(pkg) {
			continue
		}
		if i := slices.IndexFunc(imports, isTool); i >= 0 {
			t.Errorf("%s imports %s, which is not part of the product", pkg, imports[i])
		}
	}
}

// isTool reports whether a package is not part of the product.
func isTool(pkg string) bool {
	top, _, _ := strings.Cut(pkg, "/")
	return top == "bench" || top == "examples" || top == "test"
}

// list returns the packages of the module with what they import of it, sorted.
func list(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		var own []string
		for _, path := range strings.Fields(line) {
			if pkg, ok := strings.CutPrefix(path, module); ok {
				own = append(own, pkg)
			}
		}
		if len(own) > 0 { // else the directory at the top, which has no package but tests
			packages[own[0]] = own[1:]
		}
	}
	return packages
}
