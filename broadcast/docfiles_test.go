package broadcast

import (
	"testing"

	"github.com/crier-ws/crier/internal/docfiles"
)

func TestDocFiles(t *testing.T) { docfiles.Check(t) }
