// Package crier_test makes the suite of bench run where it is looked for: Go reads
// "go test -bench ./bench" as benchmarks of this package that match . and have
// sub-benchmarks that match bench.
package crier_test

import (
	"testing"

	"github.com/crier-ws/crier/bench"
)

func BenchmarkCrier(b *testing.B) { b.Run("bench", bench.Run) }
