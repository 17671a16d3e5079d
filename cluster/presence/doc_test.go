package presence

import (
	"testing"

	"github.com/crier-ws/crier/internal/docfiles"
)

// TestDocFiles checks that doc.go names all files of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }
