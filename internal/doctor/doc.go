// Package doctor says whether a number of connections fits on a host: which of its limits
// bind, with what command each is changed, and from a short measurement how much memory
// they will take up and how long a broadcast to them. Linux only.
//
// It knows the host by files below a root directory (proc and sys), and the server that
// it measures by its command line, its first log line and what the kernel charges it. It
// does not know flags, nor how the result is printed.
//
// In file order:
//
//	host.go           settings and numbers, as the files have them
//	cgroup.go         control groups, of version 2 and 1: bounds of memory, quotas of processors
//	limit.go          what bounds connections; bench/million has other needs of the same limits
//	check.go          limits against a wish: verdicts, and commands that are enough
//	advice.go         what bounds nothing, and is worth a look
//	server_linux.go   a crier in a child process, to be measured
//	measure_linux.go  connections to it, step by step: memory and time
//	predict.go        from there to the wish, with a range
//
// and report.go, all of it for one wish.
//
// Glossary:
//
//	wish     the number of connections that is to fit
//	verdict  what a check comes to: only "small" says that the wish does not fit
//	step     a number of connections that are made at once, and after which is measured
//	likely   the middle of a range
package doctor
