// Package doctor reports whether a number of connections fits on a host: which limits bind, and which command changes
// each. From a short measurement, it predicts the memory of the connections and the time of a broadcast to them.
// Linux only.
//
// It reads the host's files below a root directory (proc and sys). It knows the server that it measures by its
// command line, its first log line and the memory and time that the kernel charges it. It does not know flags, nor
// how the result is printed.
//
// In the order of an examination:
//
//	host.go           settings and numbers of the host's files
//	cgroup.go         control groups, versions 2 and 1: limits of memory, quotas of processor time
//	limit.go          limits on connections; bench/million has other needs of the same limits
//	check.go          limits compared with a goal: verdicts, and commands that raise limits far enough
//	advice.go         settings that do not limit connections, but cost time
//	server_linux.go   a crier in a child process, to be measured
//	measure_linux.go  connections to it, step by step: memory and time
//	predict.go        the memory and time of the goal, with ranges
//	report.go         all of this for one goal
//
// Glossary:
//
//	goal     the number of connections that should fit
//	verdict  the result of a check; only "small" means that the goal does not fit
//	step     a number of connections that are opened together, with a measurement afterwards
//	likely   the middle of a range
//
// # Ownership
//
// A Host is a value without state. Structs are owned by their caller, except that the goroutine of watchLog owns the
// log of a server until it closes server.log.
package doctor
