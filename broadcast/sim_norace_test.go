//go:build !race

package broadcast

// simRuns is how many simulations there are without -sim.seed.
const simRuns = 60
