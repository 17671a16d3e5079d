package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/doccode"
)

var (
	goFile   = regexp.MustCompile(`^[a-z][a-z0-9_/]*\.go$`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)[A-Z]\w*)\(`)
	testName = regexp.MustCompile(`^(?:Test|Benchmark|Fuzz)[A-Z]\w*$`)
	goTest   = regexp.MustCompile(`go test [^|&;\n]*?-(?:run|bench) '?\^?([A-Z]\w*)[^|&;\n]*?(\./[\w./]+)`)
)

// goSource is what the Go files of the repository have, by what documents name.
type goSource struct {
	files  map[string]bool     // Paths from the root, and names without a folder.
	tests  map[string]bool     // Functions of tests, of benchmarks and for fuzzing.
	byPath map[string][]string // The same functions, by the folder that they are in.
}

func readGoSource(t *testing.T) *goSource {
	t.Helper()
	s := &goSource{files: make(map[string]bool), tests: make(map[string]bool), byPath: make(map[string][]string)}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		s.files[rel], s.files[d.Name()] = true, true
		if !strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			s.tests[m[1]] = true
			s.byPath[filepath.Dir(rel)] = append(s.byPath[filepath.Dir(rel)], m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// has reports whether the name of a test, benchmark or example of a package contains name. The package ./... stands for
// all.
func (s *goSource) has(dir, name string) bool {
	for in, functions := range s.byPath {
		if dir != "./..." && in != filepath.Clean(dir) {
			continue
		}
		if slices.ContainsFunc(functions, func(f string) bool { return strings.Contains(f, name) }) {
			return true
		}
	}
	return false
}

// TestSourceNames: the Go files, the tests and the benchmarks that documents name exist.
func TestSourceNames(t *testing.T) {
	source := readGoSource(t)
	found := 0
	for path, text := range documents(t) {
		for _, span := range doccode.Spans(text) {
			switch {
			case goFile.MatchString(span):
				found++
				if !source.files[span] && !source.files[filepath.Join(filepath.Dir(path), span)] {
					t.Errorf("%s: there is no %s", path, span)
				}
			case testName.MatchString(span):
				found++
				if !source.tests[span] {
					t.Errorf("%s: there is no %s", path, span)
				}
			}
		}
		joined := strings.Join(strings.Fields(text), " ")
		for _, m := range goTest.FindAllStringSubmatch(joined, -1) {
			found++
			if !source.has(m[2], m[1]) {
				t.Errorf("%s: %s: no test of %s is called so", path, m[0], m[2])
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d names only", found)
	}
}
