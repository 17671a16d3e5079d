// Package procfs reads a few numbers from /proc, and the processor time of a process. github.com/prometheus/procfs,
// which client_golang links, would parse whole files into structs of all fields for each of them, without RssAnon in
// bytes and without clock_getcpuclockid(3). Linux only.
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

// NumberAfter returns the number that follows a field's name and a colon at the start of a line. text is borrowed
// until it returns.
func NumberAfter(text []byte, field string) (int64, error) {
	_, after, ok := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+field+":"))
	if !ok {
		return 0, fmt.Errorf("procfs: the field %s is missing", field)
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	value, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	return strconv.ParseInt(value, 10, 64)
}

// Meminfo returns a field of proc/meminfo below a root directory, in bytes: proc_meminfo(5).
func Meminfo(root, field string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, err
	}
	kib, err := NumberAfter(text, field)
	return kib << 10, err
}

// Status returns a numeric field of /proc/PID/status: proc_pid_status(5). Sizes are in KiB.
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

// CPU returns the processor time of a process in user and kernel mode. It includes threads that have ended.
func CPU(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the complement of the pid in the high bits, and the kind of clock in the low three: 2 for
	// the scheduler's count.
	clock := int32(^pid)<<3 | 2
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}
