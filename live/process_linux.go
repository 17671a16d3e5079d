package live

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxCountedFDs is the largest number of fds that are counted one by one.
const maxCountedFDs = 10_000

// openFDs returns how many fds the process has open, and its limit. n is -1 if it is unknown and counting would take too
// long. conns is the number of connections.
func openFDs(conns int) (n, limit int64) {
	var rlimit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit) == nil {
		limit = int64(rlimit.Cur)
	}
	// Since Linux 6.2, the size of the directory is the number of fds: proc_pid_fd(5).
	if dir, err := os.Stat("/proc/self/fd"); err == nil && dir.Size() > 0 {
		return dir.Size(), limit
	}
	if conns > maxCountedFDs {
		return -1, limit
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return -1, limit
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return -1, limit
	}
	return int64(len(names)) - 1, limit // Without the directory itself.
}

// residentBytes returns the resident memory of the process in bytes, or 0 if it is unknown: proc_pid_statm(5).
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
