package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// errNoStrace means that strace(1) is not installed or may not attach to the process. The error that wraps it says why.
var errNoStrace = errors.New("strace cannot count")

// socketCalls are the system calls that move bytes or wait for sockets, in the syntax of strace -e. A server makes
// others by the clock. A question mark precedes what not every architecture or version of strace knows.
const socketCalls = "sendto,sendmsg,?sendmmsg,write,writev,recvfrom,recvmsg,read,readv," +
	"?epoll_wait,epoll_pwait,?epoll_pwait2,epoll_ctl"

// traceCalls attaches strace(1) to all threads of process pid, runs load and detaches. It returns how many of the named
// system calls the process made meanwhile, in the syntax of strace -e trace=. Calls that are under way when strace
// attaches or detaches may be missing or counted twice, one or two for each thread. traceCalls blocks until load has
// returned and strace has ended.
func traceCalls(pid int, calls string, load func() error) (int, error) {
	cmd := exec.Command("strace", "-f", "-c", "-e", "trace="+calls, "-p", strconv.Itoa(pid))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	output, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("%w: %w", errNoStrace, err)
	}
	lines := bufio.NewReader(output)
	// The first line is "strace: Process 1 attached with 5 threads", or an error after which strace ends.
	first, _ := lines.ReadString('\n')
	if !strings.Contains(first, " attached") {
		return 0, errors.Join(fmt.Errorf("%w: %s", errNoStrace, strings.TrimSpace(first)), ignoreExit(cmd.Wait()))
	}
	failed := load()
	// Detaches and prints the table. It fails if the process, and strace with it, has ended.
	_ = cmd.Process.Signal(os.Interrupt)
	table, err := io.ReadAll(lines)
	if err := errors.Join(failed, err, ignoreExit(cmd.Wait())); err != nil {
		return 0, err
	}
	return sumCalls(string(table))
}

// ignoreExit returns nil for the error that a program exited with a status other than 0 or by a signal.
func ignoreExit(err error) error {
	if errors.As(err, new(*exec.ExitError)) {
		return nil
	}
	return err
}

// sumCalls adds up the calls in a table of strace -c, which may be empty. Its rows are share, seconds, microseconds a
// call, calls, errors (if there are any) and the name.
func sumCalls(table string) (sum int, err error) {
	for line := range strings.Lines(table) {
		row := strings.Fields(line)
		if len(row) < 5 || row[len(row)-1] == "total" {
			continue
		}
		if _, err := strconv.ParseFloat(row[0], 64); err != nil {
			continue // a heading, a rule or a message
		}
		n, err := strconv.Atoi(row[3])
		if err != nil {
			return 0, fmt.Errorf("measure: a row of strace -c has no number of calls: %q", line)
		}
		sum += n
	}
	return sum, nil
}
