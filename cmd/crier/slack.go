package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how much longer than asked the kernel may let a thread of this process sleep, so that it can wake
// several at once.
const timerSlack = 5 * time.Millisecond

// slackMark is the variable of the environment that marks a process whose slack coarseTimers has set.
const slackMark = "_CRIER_TIMER_SLACK"

// coarseTimers sets the timer slack of all threads if Go uses a single processor. A thread of Go's scheduler, sysmon,
// sleeps for 20 us at a time while there is work. On one core that causes a context switch every 70 us during each
// broadcast, which is 10 % of its cost: see docs/architecture.md. crier does not need timers of that precision. With
// more processors, sysmon must be on time: it frees processors whose threads are blocked in a system call.
//
// A thread inherits the slack of the thread that creates it, and Go creates sysmon before main runs. So the process
// sets the slack of its thread, and executes itself again: prctl(2), PR_SET_TIMERSLACK. If that fails, timers stay
// exact.
func coarseTimers() {
	if os.Getenv(slackMark) != "" {
		os.Unsetenv(slackMark)
		return
	}
	if runtime.GOMAXPROCS(0) > 1 {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack.Nanoseconds()), 0, 0, 0); err != nil {
		return
	}
	exe, err := os.Executable() // Its name is what ps(1) shows.
	if err != nil {
		return
	}
	_ = syscall.Exec(exe, os.Args, append(os.Environ(), slackMark+"=1"))
}
