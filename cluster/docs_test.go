package cluster

import (
	"os"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/docfiles"
)

// TestDocFiles checks that doc.go names all files of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }

// TestReadyReasonsDocumented checks that docs/operations.md lists every reason that /readyz gives.
func TestReadyReasonsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []error{errNotReachable, errSilent, errNotReceiving, errCatchingUp, errRefused} {
		if !strings.Contains(string(text), "| `"+reason.Error()+"` |") {
			t.Errorf("docs/operations.md has no row for %q", reason)
		}
	}
}
