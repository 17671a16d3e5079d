// Package load puts the clients of package swarm on the command line, against any
// WebSocket broadcaster: crier load, and the command bench/swarm.
//
// In the order in which a run passes them:
//
//	load.go      flags, and what they may be
//	run.go       connecting, sending, waiting for the rest
//	progress.go  the line that shows how far it is
//	report.go    summary and JSON
//	plot.go      latency by percentile, as lines and texts
//	canvas.go    SVG or PNG out of these
package load
