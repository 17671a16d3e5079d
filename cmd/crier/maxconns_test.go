package main

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestMaxConnsLowered checks that the log line "serving" has the number of connections, and that --max-conns is
// lowered, with a warning, to the limit of open files.
func TestMaxConnsLowered(t *testing.T) {
	bin := build(t)
	for _, maxConns := range []string{"0", "5", "100000000"} {
		log := newStuckPipe(t)
		cmd := startWith(t, bin, log.w, "--listen=127.0.0.1:0", "--max-conns="+maxConns)
		warning := ""
		if maxConns == "100000000" {
			warning = log.await(t, "level=WARN")
		}
		line := log.await(t, "msg=serving")
		number := func(name string) int {
			n, err := strconv.Atoi(addrIn(t, line, name))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		want := number("fd_limit") - reservedFDs
		if maxConns == "5" {
			want = 5
		}
		if got := number("connections"); got != want {
			t.Errorf("--max-conns %s: the start line has %d connections, want %d", maxConns, got, want)
		}
		if warning != "" && !(strings.Contains(warning, "max_conns="+maxConns) &&
			strings.Contains(warning, "allowed="+strconv.Itoa(want)) &&
			strings.Contains(warning, "hint=")) {
			t.Errorf("--max-conns %s: got %q, want both numbers and a hint", maxConns, warning)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		checkExit(t, cmd, 0)
	}
}
