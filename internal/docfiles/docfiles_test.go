package docfiles

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCompare checks that files without a name and names without a file are found.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"doc.go": "// Package x.\n//\n//\tread.go   reads; gone.go: does not exist\n//\n// " +
			"See other/far.go.\npackage x\n",
		"read.go":      "package x\n",
		"write.go":     "package x\n",
		"read_test.go": "package x\n",
		"notes.txt":    "notes",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	faults, err := compare(dir)
	want := []string{"doc.go does not name write.go: add it to the data path",
		"doc.go names gone.go, which does not exist"}
	if err != nil || !slices.Equal(faults, want) {
		t.Errorf("got %q, %v, want %q", faults, err, want)
	}
	if _, err := compare(t.TempDir()); err == nil {
		t.Error("got no error without a doc.go")
	}
}
