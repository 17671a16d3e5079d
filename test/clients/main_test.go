package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const buildTimeout = 5 * time.Minute

var (
	// crierBin is the program under test, empty while Node's broadcaster is it.
	crierBin string
	// scratch is a directory that lives as long as the run.
	scratch string
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "crier-clients-"); err != nil {
		return complain(err)
	}
	defer os.RemoveAll(scratch)
	switch target := os.Getenv("CLIENTS_TARGET"); target {
	case "", "crier":
		if crierBin, err = crierProgram(scratch); err != nil {
			return complain(err)
		}
	case "broadcaster":
	default:
		return complain(fmt.Errorf("CLIENTS_TARGET is %q, want crier or broadcaster", target))
	}
	inherited := openEnds()
	code := m.Run()
	if err := leftover(inherited, 5*time.Second); err != nil && code == 0 {
		return complain(err)
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "clients:", err)
	return 1
}

// crierProgram returns the path of CRIER_BIN, relative to this directory, or builds crier into dir.
func crierProgram(dir string) (string, error) {
	if bin := os.Getenv("CRIER_BIN"); bin != "" {
		os.Unsetenv("CRIER_BIN") // crier warns about variables that look like its own.
		abs, err := exec.LookPath(bin)
		if err != nil {
			return "", fmt.Errorf("CRIER_BIN: %w", err)
		}
		return filepath.Abs(abs)
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	bin := filepath.Join(dir, "crier")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/crier")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build.Args, err, out)
	}
	return bin, nil
}

// leftover waits until no goroutine of a test is left, nor a socket or pipe other than
// the inherited ones, and returns what is left after patience.
func leftover(inherited []string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		stacks := testGoroutines()
		files := slices.DeleteFunc(openEnds(), func(end string) bool {
			return slices.Contains(inherited, end)
		})
		if len(stacks) == 0 && len(files) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("left over after the tests: %v\n%s",
				files, strings.Join(stacks, "\n\n"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// testGoroutines returns the stacks of the goroutines that a test of this package started.
func testGoroutines() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, stack := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
		if strings.Contains(stack, "crier/test/clients") && !strings.Contains(stack, "TestMain") {
			left = append(left, stack)
		}
	}
	return left
}

// openEnds returns the sockets and pipes above stderr that this process holds.
func openEnds() []string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var ends []string
	for _, entry := range entries {
		if entry.Name() == "0" || entry.Name() == "1" || entry.Name() == "2" {
			continue
		}
		name, _ := os.Readlink(filepath.Join("/proc/self/fd", entry.Name()))
		if strings.HasPrefix(name, "socket:") || strings.HasPrefix(name, "pipe:") {
			ends = append(ends, entry.Name()+"="+name)
		}
	}
	return ends
}
