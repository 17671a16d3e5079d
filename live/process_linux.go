package live

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// countedFDs is how many fds are counted one by one at the most.
const countedFDs = 10_000

// openFDs is how many fds the process has open, and may have. n is -1 if it cannot be said without
// counting more than countedFDs. conns is how many connections there are.
func openFDs(conns int) (n, most int64) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		most = int64(limit.Cur)
	}
	// Linux 6.2 and later say it: proc_pid_fd(5).
	if dir, err := os.Stat("/proc/self/fd"); err == nil && dir.Size() > 0 {
		return dir.Size(), most
	}
	if conns > countedFDs {
		return -1, most
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return -1, most
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return -1, most
	}
	return int64(len(names)) - 1, most // Without the directory itself.
}

// residentBytes is what the process takes up of memory, or 0 if the kernel does not say:
// proc_pid_statm(5).
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
