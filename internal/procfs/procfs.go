// Package procfs reads numbers out of /proc, and the processor's time of a process.
// Linux only.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NumberAfter returns the number behind a field's name and colon at the begin of a line.
// text is borrowed until it returns.
func NumberAfter(text []byte, field string) (int64, error) {
	_, after, ok := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+field+":"))
	if !ok {
		return 0, fmt.Errorf("procfs: there is no %s", field)
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	value, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	return strconv.ParseInt(value, 10, 64)
}

// Meminfo returns a value of proc/meminfo below a root directory in bytes, see
// proc_meminfo(5).
func Meminfo(root, field string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, err
	}
	kib, err := NumberAfter(text, field)
	return kib << 10, err
}

// Status returns a number from /proc/PID/status, see proc_pid_status(5). Sizes are in KiB.
func Status(pid int, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return NumberAfter(text, field)
}

// RssAnon returns the resident anonymous memory of a process in bytes.
func RssAnon(pid int) (int64, error) {
	kib, err := Status(pid, "RssAnon")
	return kib << 10, err
}

// CPU returns the time that all threads of a process were on a core so far, those that
// ended included, and the kernel's part too.
func CPU(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the complement of the pid, shifted over the kind of
	// clock, which is 2 for the scheduler's own count.
	clock := int32(^pid)<<3 | 2
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}
