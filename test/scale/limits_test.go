package scale

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait. Nothing takes that long: it is for machines that
// are busy with something else, and for servers that hang.
const patience = 2 * time.Minute

// spareFDs is what a process has open beside its connections, amply.
const spareFDs = 200

// needFDs skips the test, or fails it under CI, if a process cannot have so
// many connections.
func needFDs(t *testing.T, conns uint64) {
	t.Helper()
	limit, err := raiseFDLimit()
	if err != nil {
		t.Fatal(err)
	}
	if limit >= conns+spareFDs {
		return
	}
	const format = "NOT TESTED: the hard limit of open files is %d and this takes %d: raise it (ulimit -Hn, LimitNOFILE)"
	if os.Getenv("CI") != "" {
		t.Fatalf(format, limit, conns+spareFDs)
	}
	t.Skipf(format, limit, conns+spareFDs)
}

// raiseFDLimit raises the soft limit of open files to the hard one.
func raiseFDLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	limit.Cur = limit.Max
	return limit.Cur, os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
}
