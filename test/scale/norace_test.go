//go:build !race

package scale

// raceBuild says whether this binary has the race detector in it.
const raceBuild = false
