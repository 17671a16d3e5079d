package scale

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait. Nothing takes as long, unless the machine is busy or a server hangs.
const patience = 2 * time.Minute

// spareFDs is more than a process has open besides its connections.
const spareFDs = 200

// needFDs skips the test if a process cannot have so many connections. In CI the test fails.
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
