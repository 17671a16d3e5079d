// Package docfiles checks that the doc.go of a package names the files of that package, for the tests of packages.
package docfiles

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fileName is the name of a Go file, and not a part of a path.
var fileName = regexp.MustCompile(`(?:^|[^/\w])(\w+\.go)\b`)

// Check fails t unless doc.go in the current directory names every other Go file of the directory except tests, and
// no file that does not exist.
func Check(t *testing.T) {
	t.Helper()
	faults, err := compare(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

// compare returns a line for each file of dir that its doc.go does not name, and for each name that is no file.
func compare(dir string) (faults []string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "doc.go"))
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files, named []string
	for _, path := range paths {
		if name := filepath.Base(path); name != "doc.go" && !strings.HasSuffix(name, "_test.go") {
			files = append(files, name)
		}
	}
	for _, match := range fileName.FindAllStringSubmatch(string(text), -1) {
		named = append(named, match[1])
	}
	for _, name := range files {
		if !slices.Contains(named, name) {
			faults = append(faults, fmt.Sprintf("doc.go does not name %s: add it to the data path", name))
		}
	}
	for _, name := range named {
		if name != "doc.go" && !slices.Contains(files, name) {
			faults = append(faults, fmt.Sprintf("doc.go names %s, which does not exist", name))
		}
	}
	return faults, nil
}
