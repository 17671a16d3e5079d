//go:build race

package criertest

// Race reports whether this program was built with the race detector.
const Race = true
