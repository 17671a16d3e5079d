package bench

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/crier-ws/crier/internal/tool"
)

// startCat starts cat(1), which ends with the test. The functions write a line to it and read that back.
func startCat(t *testing.T) (pid int, echo func() error) {
	t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("cat: %v", err)
		}
	})
	lines := bufio.NewReader(out)
	return cmd.Process.Pid, func() error {
		if _, err := io.WriteString(in, "line\n"); err != nil {
			return err
		}
		_, err := lines.ReadString('\n')
		return err
	}
}

func TestTraceCalls(t *testing.T) {
	tool.Need(t, "strace")
	pid, echo := startCat(t)
	const lines = 100
	load := func() error {
		for range lines {
			if err := echo(); err != nil {
				return err
			}
		}
		return nil
	}
	tests := []struct {
		calls string
		want  int
	}{
		{socketCalls, 2 * lines}, // a read and a write for each
		{"write", lines},
		{"?epoll_wait,epoll_pwait", 0},
	}
	for _, tt := range tests {
		// Whether strace counts the calls that it interrupts at the begin and at the end is up to chance.
		if got, err := traceCalls(pid, tt.calls, load); err != nil || got < tt.want-2 || got > tt.want+2 {
			t.Errorf("%s: got %d calls, %v, want %d, or 2 more or fewer", tt.calls, got, err, tt.want)
		}
	}
	if err := echo(); err != nil {
		t.Errorf("the process does not run on afterwards: %v", err)
	}
}

func TestTraceCallsReturnsTheErrorOfTheLoad(t *testing.T) {
	tool.Need(t, "strace")
	pid, _ := startCat(t)
	failed := errors.New("the load failed")
	if _, err := traceCalls(pid, socketCalls, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
}

func TestTraceCallsWithoutStrace(t *testing.T) {
	load := func() error {
		t.Error("the load ran, though nothing counts")
		return nil
	}
	t.Run("not permitted", func(t *testing.T) {
		tool.Need(t, "strace")
		pid, _ := startCat(t)
		// A process has one tracer at a time, so Linux refuses the second one.
		_, err := traceCalls(pid, socketCalls, func() error {
			_, err := traceCalls(pid, socketCalls, load)
			return err
		})
		if !errors.Is(err, errNoStrace) {
			t.Errorf("got %v, want %v", err, errNoStrace)
		}
	})
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", "")
		if _, err := traceCalls(os.Getpid(), socketCalls, load); !errors.Is(err, errNoStrace) {
			t.Errorf("got %v, want %v", err, errNoStrace)
		}
	})
}

func TestSumCalls(t *testing.T) {
	// Versions of strace differ in the line of the total.
	const table = `strace: Process 8 attached
strace: Process 7 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 66.67    0.000100           1       100        10 epoll_pwait
 33.33    0.000050           1        50           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000150                   150        10 total
`
	if got, err := sumCalls(table); got != 150 || err != nil {
		t.Errorf("got %d, %v, want 150", got, err)
	}
	if got, err := sumCalls("strace: Process 7 detached\n"); got != 0 || err != nil {
		t.Errorf("no table: got %d, %v, want 0", got, err)
	}
}
