package cluster

import (
	"os"
	"strings"
	"testing"
)

// TestDocumented: docs/operations.md has what /readyz says.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range []error{errNotReachable, errSilent, errDeaf, errNotYet, errRefused} {
		if !strings.Contains(string(text), "| `"+why.Error()+"` |") {
			t.Errorf("there is nothing of %q", why)
		}
	}
}
