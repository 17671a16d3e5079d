package leaktest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// planted is the environment variable that tells this test binary what to leak.
const planted = "LEAKTEST_PLANTED"

func TestMain(m *testing.M) {
	if os.Getenv(planted) != "" {
		patience = 100 * time.Millisecond
	}
	os.Exit(Main(m))
}

// TestPlanted leaks what the environment says, and passes.
func TestPlanted(t *testing.T) {
	switch os.Getenv(planted) {
	case "goroutine":
		go func() { select {} }() // Never stopped: this is the leak.
	case "file":
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		forgotten = f
	}
}

var forgotten *os.File // Keeps a file from being closed by the garbage collector.

// TestLeaks checks that a run whose tests pass still fails if it leaks a goroutine or a file descriptor.
func TestLeaks(t *testing.T) {
	for _, leak := range []string{"goroutine", "file", "nothing"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPlanted$", "-test.v")
		cmd.Env = append(os.Environ(), planted+"="+leak)
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), "--- PASS: TestPlanted") {
			t.Fatalf("%s: TestPlanted did not pass: %v\n%s", leak, err, out)
		}
		failed := err != nil && strings.Contains(string(out), "leak: ")
		if want := leak != "nothing"; failed != want {
			t.Errorf("%s: got %v, want failed: %t\n%s", leak, err, want, out)
		}
	}
}
