package cluster

import (
	"os"
	"testing"

	"github.com/crier-ws/crier/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }
