// Package tool is for tests that need programs or rights that not every machine has.
package tool

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Need skips t, with a line on standard error, if one of the programs is not installed. If the environment variable
// CI is set, it fails t instead, because a skipped test would go unnoticed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			Lack(t, program+" is not installed")
		}
	}
}

// NeedRoot is like Need, for tests that must run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		Lack(t, "the test must run as root")
	}
}

// Lack skips t, or fails it if CI is set. why is the reason.
func Lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s, and CI is set", why)
	}
	fmt.Fprintf(os.Stderr, "\n**** SKIPPED %s: %s ****\n\n", t.Name(), why)
	t.Skip(why)
}
