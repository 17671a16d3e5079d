package framelog

import (
	"flag"
	"os"
	"testing"

	"github.com/crier-ws/crier/internal/docfiles"
	"github.com/crier-ws/crier/internal/leaktest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // Fuzzing leaves goroutines of its own behind.
	}
	os.Exit(leaktest.Main(m))
}

// TestDocFiles: doc.go names every file of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }
