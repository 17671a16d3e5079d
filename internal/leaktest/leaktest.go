// Package leaktest fails a test binary that leaves goroutines or file descriptors behind.
package leaktest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// patience is how long Main waits for goroutines to end and file descriptors to be closed.
var patience = 10 * time.Second

// Main is the body of a TestMain. It runs the tests and returns the exit code. If they pass, it waits up to ten seconds
// until there are no more goroutines and file descriptors than before. If some are left, it prints them and returns 1.
// Goroutines that package initialisation started (the default pool of ants) do not count. While fuzzing, it only runs
// the tests: the fuzzing engine leaves a goroutine behind.
func Main(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run()
	}
	// Go's own poller opens its file descriptors on first use and keeps them.
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
	fds, goroutines := FDs(), runtime.NumGoroutine()
	if code := m.Run(); code != 0 {
		return code
	}
	deadline := time.Now().Add(patience)
	for FDs() > fds || runtime.NumGoroutine() > goroutines {
		if time.Now().After(deadline) {
			fmt.Printf("leak: fds %d, want %d; goroutines %d, want %d\nopen: %q\n",
				FDs(), fds, runtime.NumGoroutine(), goroutines, openFiles())
			_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			return 1
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}

// openFiles returns what each file descriptor of the process refers to, see proc_pid_fd(5).
func openFiles() (names []string) {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil { // The directory itself is closed by now.
			names = append(names, name)
		}
	}
	return names
}

// FDs returns the number of file descriptors that the process has open.
func FDs() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries) - 1 // Without that of the directory itself.
}
