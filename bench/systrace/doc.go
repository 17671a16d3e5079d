// Package systrace counts, exactly, the system calls that a running process makes while
// a load is put on it. It uses ptrace(2) and needs no privilege where the process is a
// descendant of this one.
//
// It does not know what the process is, nor the arguments and results of the calls.
//
// The count is exact for the run that it traced, which is slower: a call takes some tens
// of microseconds more. What a process calls by the clock rises with that (Go's monitor
// thread naps all the while that others run: nanosleep), and what it does once per
// wake-up can fall. The calls that a delivery needs do not change.
//
// The data path in file order:
//
//	count_linux.go   Count: attach, settle, run the load, detach
//	thread_linux.go  the OS thread that is the tracer
//	tracer_linux.go  seize all threads, pass each stop on, detach
//	ptrace_linux.go  ptrace(2) and waitid(2)
//	refuse_linux.go  why ptrace(2) is forbidden
//	await_linux.go   wait for the end of the process without taking the tracer's stops
//	calls.go         the counts
//
// Glossary:
//
//	stop        ptrace(2) holds a thread of the process until it is passed on
//	entry, exit the stops before and after a system call; Linux tells which is which
//	            (PTRACE_GET_SYSCALL_INFO, Linux 5.3), so nothing is toggled
//	group-stop  the process was stopped, by SIGSTOP for instance
//	sentinel    a child of the tracer thread, whose end calls the thread back from
//	            waitid(2)
//
// Ownership: the tracer thread alone makes ptrace(2) calls and owns the tracer struct
// but for its atomics; Count reads the results after that thread closed ended.
//
// # How the tracer waits
//
// A tracer has to wait for its tracees without touching the other children of this
// process, for which an exec.Cmd waits elsewhere. Waiting on each thread by its id takes
// polling, so the tracer waits for all with __WNOTHREAD: that means the children and
// tracees of the calling thread only, and the thread is chosen to have no children.
// WNOWAIT leaves the end of the process to its parent. A stop need not be consumed,
// but for that after execve(2): restarting the thread clears it.
//
// The reverse is not in the tracer's hands. Linux shows stops of a traced child to any
// wait of the tracing process, whatever its options (wait_consider_task in the kernel's
// kernel/exit.c), so that a pending exec.Cmd.Wait would take a stop for the end. Count
// refuses to start then; AwaitEnd waits without that effect.
package systrace
