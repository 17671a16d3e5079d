// Package criertest is for tests and benchmarks that run the program crier, and for tests that wait.
package criertest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long Eventually waits. It is long enough for a busy machine, and measures nothing.
const patience = 2 * time.Minute

// Eventually blocks until done returns true. It calls done after 1, 2, 4 ... milliseconds, later every 32, and ends the
// test, naming what it waited for, after two minutes.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; !done(); pause = min(2*pause, 32*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(pause)
	}
}

// Build builds crier into dir with flags of go build, such as -race, and returns the path of the program. The working
// directory must be in crier's module, or in one that replaces it by its directory.
func Build(dir string, flags ...string) (string, error) {
	top, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/crier-ws/crier").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	program := filepath.Join(dir, "crier")
	cmd := exec.Command("go", append(append([]string{"build", "-o", program}, flags...), "./cmd/crier")...)
	cmd.Dir = strings.TrimSpace(string(top))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return program, nil
}
