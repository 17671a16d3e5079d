package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a program that is started again when it ends, as a service manager does.
type program struct {
	// Immutable after start.
	name     string
	about    string // For summary.
	args     []string
	ready    string // The URL that answers 200 when the program is ready.
	mayRetry bool   // It may end and be started again before it was ready, until programs that it needs are ready.
	file     string // Gets its output; the log then gets only warnings and errors. "" for all of it in the log.
	log      *journal

	quit   chan struct{} // Closed by stop.
	ended  chan struct{} // Closed by run when the program has ended for good.
	failed chan error    // Capacity 1: why the program could not start. Written by run.

	mu       sync.Mutex
	cmd      *exec.Cmd // Guarded by mu: the current process, or the last one.
	stopping bool      // Guarded by mu: stop was called.
	wasReady bool      // Guarded by mu: the program has been ready once.
}

// withPrefix returns the programs whose names begin with kind.
func withPrefix(all []*program, kind string) (some []*program) {
	for _, p := range all {
		if strings.HasPrefix(p.name, kind) {
			some = append(some, p)
		}
	}
	return some
}

// start starts programs, and waits until all are ready, one cannot start, or ctx is done.
func start(ctx context.Context, some []*program) error {
	for _, p := range some {
		p.quit, p.ended, p.failed = make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go p.run() // stop ends it and waits for it.
	}
	for _, p := range some {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// run runs the program again and again, until stop is called or it cannot start.
func (p *program) run() {
	defer close(p.ended)
	for {
		err := p.runOnce()
		p.mu.Lock()
		stopping, wasReady := p.stopping, p.wasReady
		p.mu.Unlock()
		var exit *exec.ExitError
		misused := !errors.As(err, &exit) || exit.ExitCode() == 2 // There is no such program, or it refuses its flags.
		switch {
		case stopping:
			return
		case !wasReady && (misused || !p.mayRetry):
			p.logFile()
			p.failed <- fmt.Errorf("%s did not start: it ended, %v: see its output", p.name, err)
			return
		}
		p.log.write(p.name, fmt.Sprintf("-- ended (%v), starting it again", p.cmd.ProcessState))
		select {
		case <-time.After(time.Second):
		case <-p.quit:
			return
		}
	}
}

// runOnce runs the program to its end. It returns why it could not be started, or an *exec.ExitError.
func (p *program) runOnce() error {
	cmd := exec.Command(p.args[0], p.args[1:]...)
	out := &lines{name: p.name, log: p.log}
	if p.file != "" {
		file, err := os.OpenFile(p.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		out.all, out.filter = file, p.isProblem
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	// In a process group of its own, as Ctrl-C is for this process. The kernel kills the program if this process is
	// killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.mu.Lock()
	if p.stopping {
		p.mu.Unlock()
		return nil
	}
	err := cmd.Start()
	p.cmd = cmd
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.log.write(p.name, fmt.Sprintf("-- started, pid %d", cmd.Process.Pid))
	return cmd.Wait()
}

// await waits until the program is ready, cannot start, or ctx is done.
func (p *program) await(ctx context.Context) error {
	for {
		err := p.checkReady(ctx)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.wasReady = true
			return nil
		}
		select {
		case err := <-p.failed:
			return err
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				p.logFile()
			}
			return fmt.Errorf("%s is not ready: %w", p.name, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// isProblem reports whether a line of a NATS server is a warning or an error. While the cluster starts or ends, NATS
// servers warn that they miss each other: those lines do not count.
func (p *program) isProblem(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wasReady && !p.stopping && !strings.Contains(line, " [INF] ")
}

// logFile logs all output of the program, if file has it.
func (p *program) logFile() {
	if text, err := os.ReadFile(p.file); err == nil {
		p.log.write(p.name, strings.TrimSuffix(string(text), "\n"))
	}
}

// checkReady returns nil if the program is ready.
func (p *program) checkReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ready, nil)
	if err != nil {
		return err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(body))
	}
	return nil
}

// pid returns the process ID of the current process.
func (p *program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// stop ends programs side by side, and waits for them.
func stop(some []*program) {
	var wg sync.WaitGroup
	for _, p := range some {
		if p.quit != nil {
			wg.Go(p.stop)
		}
	}
	wg.Wait()
}

// stop ends the program with SIGTERM, or with SIGKILL after 10 s, and waits for it.
func (p *program) stop() {
	p.mu.Lock()
	p.stopping = true
	close(p.quit)
	p.signalLocked(syscall.SIGTERM)
	p.mu.Unlock()
	select {
	case <-p.ended:
		return
	case <-time.After(10 * time.Second):
	}
	p.mu.Lock()
	p.signalLocked(syscall.SIGKILL)
	p.mu.Unlock()
	<-p.ended
}

// signalLocked sends a signal to the process, if there is one. The mutex must be held.
func (p *program) signalLocked(sig syscall.Signal) {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(sig) // The process may have ended.
	}
}

// journal is the output of all programs, with their names.
type journal struct {
	mu  sync.Mutex
	out io.Writer // Guarded by mu.
}

// write writes text, each line after a name.
func (j *journal) write(name, text string) {
	var b strings.Builder
	for line := range strings.Lines(text + "\n") {
		fmt.Fprintf(&b, "%-8s| %s", name, line)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = io.WriteString(j.out, b.String())
}

// lines is an io.Writer that passes whole lines to a journal. Used by one goroutine: that of exec.Cmd.
type lines struct {
	name   string
	log    *journal
	all    io.Writer              // Gets everything, if set.
	filter func(line string) bool // Selects the lines for the journal, if set.
	rest   []byte                 // An incomplete line.
}

// maxLine is how long a line may be before it is passed on without its end.
const maxLine = 16 << 10

// Write implements io.Writer. It copies b.
func (l *lines) Write(b []byte) (int, error) {
	if l.all != nil {
		_, _ = l.all.Write(b) // An error, such as a full disk, costs only a part of the file.
	}
	l.rest = append(l.rest, b...)
	end := bytes.LastIndexByte(l.rest, '\n')
	if end < 0 && len(l.rest) >= maxLine {
		end = len(l.rest)
	}
	if end >= 0 {
		l.pass(string(l.rest[:end]))
		l.rest = append(l.rest[:0], l.rest[min(end+1, len(l.rest)):]...)
	}
	return len(b), nil
}

// pass passes lines to the journal.
func (l *lines) pass(text string) {
	if l.filter == nil {
		l.log.write(l.name, text)
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		if l.filter(line) {
			l.log.write(l.name, line)
		}
	}
}
