// Package tool is for tests that run what not every machine has.
package tool

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Need skips t with a loud line if one of the programs is absent. Where CI is set it fails
// instead: there a test left out would go unseen.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			Lack(t, program+" is not installed")
		}
	}
}

// NeedRoot is Need for being root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		Lack(t, "only root may do this")
	}
}

// Lack skips t, or fails it where CI is set.
func Lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s, and CI is set", why)
	}
	fmt.Fprintf(os.Stderr, "\n**** SKIPPED %s: %s ****\n\n", t.Name(), why)
	t.Skip(why)
}
