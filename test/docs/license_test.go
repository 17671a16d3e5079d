package docs

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestPackagesHaveLicence: the licence stands beside each package.json of a package that is published: npm packs it
// from there, and from nowhere else.
func TestPackagesHaveLicence(t *testing.T) {
	want, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	err = filepath.WalkDir("../../clients", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "package.json" {
			return err
		}
		found++
		file := filepath.Join(filepath.Dir(path), "LICENSE")
		if got, err := os.ReadFile(file); !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want the same as LICENSE", file, got, err)
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("found %d packages, %v", found, err)
	}
}
