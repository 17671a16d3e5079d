package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how late the kernel may wake a thread of this process from a
// timed sleep, so that it can do so together with others.
const timerSlack = 5 * time.Millisecond

// slackMark in the environment says that coarseTimers has been here.
const slackMark = "_CRIER_TIMER_SLACK"

// coarseTimers sets the timer slack of all threads where Go has one processor
// only. Go's scheduler has a thread that sleeps for 20 us at a time while there
// is work (sysmon). On one core that is a context switch every 70 us in the
// middle of each broadcast: 10 % of its cost, see docs/architecture.md. Nothing
// here needs a timer to be that exact. With more processors sysmon is needed in
// time, since a processor stands idle until it takes it from a thread that is
// blocked in a system call.
//
// Threads inherit the slack from the one that makes them, and that thread is
// made before any code of ours runs. So the process sets its own and executes
// itself anew; prctl(2), PR_SET_TIMERSLACK. Where that fails, it goes on
// without.
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
