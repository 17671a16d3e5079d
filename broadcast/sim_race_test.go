//go:build race

package broadcast

// simRuns is how many simulations there are without -sim.seed. The race detector makes
// them twenty times slower, and there is one goroutine only.
const simRuns = 4
