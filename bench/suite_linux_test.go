package bench

import "testing"

// BenchmarkCrier is the suite; at the top of the repository go test -bench ./bench
// runs the same.
func BenchmarkCrier(b *testing.B) { b.Run("bench", Run) }
