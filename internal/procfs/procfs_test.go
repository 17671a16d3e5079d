package procfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNumberAfter(t *testing.T) {
	const text = "Name:\tcrier\nRssAnon:\t    5432 kB\nThreads:\t7\n"
	for _, tt := range []struct {
		field string
		want  int64
		ok    bool
	}{{"RssAnon", 5432, true}, {"Threads", 7, true}, {"Anon", 0, false}, {"Name", 0, false}, {"Rss", 0, false}} {
		got, err := NumberAfter([]byte(text), tt.field)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %d, %v, want %d", tt.field, got, err, tt.want)
		}
	}
}

func TestMeminfo(t *testing.T) {
	root := t.TempDir()
	if _, err := Meminfo(root, "Slab"); err == nil {
		t.Error("no file: got no error")
	}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/meminfo"), []byte("MemTotal: 9 kB\nSlab:  17 kB\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Meminfo(root, "Slab"); got != 17<<10 || err != nil {
		t.Errorf("got %d, %v, want %d", got, err, 17<<10)
	}
}

// TestOwn checks the figures of this process.
func TestOwn(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
	}
	if after, err := CPU(os.Getpid()); err != nil || after <= before {
		t.Errorf("CPU: got %v after %v, %v, want more", after, before, err)
	}
	if got, err := RssAnon(os.Getpid()); err != nil || got < 100<<10 {
		t.Errorf("RssAnon: got %d, %v, want at least 100 KiB", got, err)
	}
}
