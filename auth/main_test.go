package auth

import (
	"os"
	"testing"

	"github.com/crier-ws/crier/internal/docfiles"
	"github.com/crier-ws/crier/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// TestDocFiles: doc.go names every file of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }
