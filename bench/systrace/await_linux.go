package systrace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// AwaitEnd blocks until process pid has ended, and does not reap it: call exec.Cmd.Wait
// then. Unlike that, it may be pending during Count. A process that does not exist has
// ended. It wraps pidfd_open(2) and poll(2).
func AwaitEnd(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == unix.EINTR {
			continue
		}
		return os.NewSyscallError("poll", err)
	}
}

// unawaited returns ErrAwaited if a thread of this process waits for pid.
func unawaited(pid int) error {
	// nr arg0 arg1 …, see proc_pid_syscall(5).
	files, err := filepath.Glob("/proc/self/task/*/syscall")
	if err != nil {
		return err
	}
	for _, file := range files {
		var number, first, second int64
		text, err := os.ReadFile(file)
		if err != nil {
			continue // The thread ended.
		}
		if _, err := fmt.Sscanf(string(text), "%d 0x%x 0x%x", &number, &first, &second); err != nil {
			continue // It runs.
		}
		if waitsFor(pid, number, first, second) {
			return fmt.Errorf("%w of process %d", ErrAwaited, pid)
		}
	}
	return nil
}

// waitsFor reports whether a call with these arguments waits for pid.
func waitsFor(pid int, number, first, second int64) bool {
	switch {
	case number == unix.SYS_WAIT4:
		return first == int64(pid)
	case number != unix.SYS_WAITID:
		return false
	case first == unix.P_PIDFD:
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", second))
		return err == nil && bytes.Contains(info, fmt.Appendf(nil, "\nPid:\t%d\n", pid))
	}
	return first == unix.P_PID && second == int64(pid)
}
