// Package criertest is for tests and benchmarks that run the program crier, and for tests that wait.
package criertest

import (
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
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

// AllowParallel lets n tests that called t.Parallel run at a time, unless the flag -parallel was given. Go's default is
// one for each processor, which is too few for tests that mostly wait. TestMain calls it before it runs the tests.
func AllowParallel(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(n)) // It takes any number.
	}
}

// Build builds crier into dir with flags of go build, such as -race, and returns the path of the program. The working
// directory must be in crier's module, or in one that replaces it by its directory. Only the first Build of the same
// sources and flags links: go run caches programs, which go build does not.
func Build(dir string, flags ...string) (string, error) {
	top, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/crier-ws/crier").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	program := filepath.Join(dir, "crier")
	// Instead of running the program, go run calls cp with its path in the cache and the argument.
	cmd := exec.Command("go", append(append([]string{"run", "-exec", "cp"}, flags...), "./cmd/crier", program)...)
	cmd.Dir = strings.TrimSpace(string(top))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return program, nil
}

// BuildAlike is Build with -race if this program was built with it, and without flags otherwise. A crier that finds a
// data race prints it and ends with exit code 66.
func BuildAlike(dir string) (string, error) {
	if Race {
		return Build(dir, "-race")
	}
	return Build(dir)
}
