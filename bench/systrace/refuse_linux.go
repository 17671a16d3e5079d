package systrace

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// refusal says why a thread could not be seized.
func refusal(tid int, err error) error {
	return fmt.Errorf("%w: %v: %s", ErrNotPermitted, err, reason(tid))
}

// reason is the likeliest of those that ptrace(2) lists, for the kernel does not tell.
func reason(tid int) string {
	if tracer := status(tid, "TracerPid"); tracer != "" && tracer != "0" {
		return fmt.Sprintf("thread %d is traced by thread %s", tid, tracer)
	}
	if status(tid, "Tgid") == strconv.Itoa(unix.Getpid()) {
		return fmt.Sprintf("thread %d is of this process", tid)
	}
	// 1 allows descendants, 2 needs CAP_SYS_PTRACE, 3 forbids all.
	text, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	scope := strings.TrimSpace(string(text))
	if err == nil && scope > "1" {
		return "kernel.yama.ptrace_scope is " + scope
	}
	if status(unix.Getpid(), "Seccomp") == "2" {
		return "a seccomp filter is on this process"
	}
	if scope == "1" {
		return fmt.Sprintf("thread %d is of another user, not dumpable, or, as kernel.yama.ptrace_scope is 1, no descendant", tid)
	}
	return fmt.Sprintf("thread %d is of another user, or not dumpable", tid)
}

// isZombie reports whether a thread ended but was not reaped, which PTRACE_SEIZE answers
// with EPERM as well.
func isZombie(tid int) bool {
	state := status(tid, "State")
	return state == "" || state[0] == 'Z' || state[0] == 'X'
}

// status returns a field of /proc/TID/status, empty if there is none.
func status(tid int, field string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), "\n"+field+":")
	value, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(value)
}
