package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program that ends with its test at the latest.
type process struct {
	// Immutable after startProcess.
	cmd  *exec.Cmd
	out  *output       // stdout and stderr as they came, for reports
	done chan struct{} // closed when the program has ended and err is set

	// Written before done is closed, read after it.
	err error
}

// startProcess starts name in dir and kills it, by its own pid, when t ends. The
// kernel kills it too should this process die first. A data race in it fails t.
func startProcess(t *testing.T, dir, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	return start(t, cmd)
}

// start is startProcess with a command that was made ready.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout = p.out
	p.cmd.Stderr = p.out
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program; stop waits for it
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.stop)
	t.Cleanup(func() {
		if strings.Contains(p.out.String(), "WARNING: DATA RACE") {
			t.Errorf("%s has a data race", p)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", p, p.out)
		}
	})
	return p
}

// stop kills the program if it still runs, and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Kill() // fails only if the program has ended
	<-p.done
}

func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal %v to %s: %v", sig, p, err)
	}
}

// wait returns how the program ended: nil for exit code 0.
func (p *process) wait(patience time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return fmt.Errorf("still runs after %v", patience)
	}
}

// waitLine blocks until the output has want as a line.
func (p *process) waitLine(t *testing.T, want string, patience time.Duration) {
	t.Helper()
	p.waitLines(t, want, 1, patience)
}

// waitLines blocks until the output has want as a line n times.
func (p *process) waitLines(t *testing.T, want string, n int, patience time.Duration) {
	t.Helper()
	err := poll(patience, func() error {
		if p.out.lines(want) >= n {
			return nil
		}
		if p.ended() {
			return &finalError{fmt.Errorf("ended: %v", p.err)}
		}
		return errors.New("still runs")
	})
	if err != nil {
		t.Fatalf("no line %q (%d times) of %s: %v", want, n, p, err)
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) String() string {
	return fmt.Sprintf("%s (pid %d)", p.cmd, p.cmd.Process.Pid)
}

// output collects what a program writes. Safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write implements io.Writer; b is copied.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// lines is how often want is a line.
func (o *output) lines(want string) (n int) {
	for line := range strings.Lines(o.String()) {
		if strings.TrimRight(line, "\r\n") == want {
			n++
		}
	}
	return n
}

// A finalError ends a poll at once: trying again would not help.
type finalError struct{ error }

// poll calls try until it returns nil or a finalError, or patience is over.
func poll(patience time.Duration, try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := try()
		var final *finalError
		if err == nil || errors.As(err, &final) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// runScript runs a program to its end and returns its stdout; stderr goes to the log.
// Anything but exit code 0 within limit fails t.
func runScript(t *testing.T, limit time.Duration, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v (%v)\n%s%s", cmd, err, ctx.Err(), &stdout, &stderr)
	}
	if stderr.Len() > 0 {
		t.Logf("%s", &stderr)
	}
	return stdout.String()
}
