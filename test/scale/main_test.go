package scale

import (
	"os"
	"testing"

	"github.com/crier-ws/crier/internal/leaktest"
)

// TestMain runs the tests, or a server in a process that startServer has started.
func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(serveChild(config))
	}
	os.Exit(leaktest.Main(m))
}
