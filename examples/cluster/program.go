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

// program is one that runs, and is started again when it ends, as a service manager does.
type program struct {
	// Immutable after start.
	name  string
	about string
	args  []string
	ready string // The URL that answers 200 when it is.
	waits bool   // It may end at the start until others are ready.
	file  string // For all that it says: then only what matters is said. "" to say all.
	log   *journal

	quit   chan struct{} // Closed by stop.
	ended  chan struct{} // Closed when it has, and is not started again.
	failed chan error    // Capacity 1: why it could not start.

	mu       sync.Mutex
	cmd      *exec.Cmd // Guarded by mu: the one that runs, or ran last.
	stopping bool      // Guarded by mu.
	up       bool      // Guarded by mu: it has been ready once.
}

// of is those whose names begin so.
func of(all []*program, kind string) (some []*program) {
	for _, p := range all {
		if strings.HasPrefix(p.name, kind) {
			some = append(some, p)
		}
	}
	return some
}

// start starts programs, and waits until they are ready, one cannot start, or ctx is done.
func start(ctx context.Context, some []*program) error {
	for _, p := range some {
		p.quit, p.ended, p.failed = make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go p.run() // Ended and awaited by stop.
	}
	for _, p := range some {
		if err := p.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// run runs it again and again.
func (p *program) run() {
	defer close(p.ended)
	for {
		err := p.once()
		p.mu.Lock()
		stopping, up := p.stopping, p.up
		p.mu.Unlock()
		var exit *exec.ExitError
		wrong := !errors.As(err, &exit) || exit.ExitCode() == 2 // There is no such program, or flag.
		switch {
		case stopping:
			return
		case !up && (wrong || !p.waits):
			p.tell()
			p.failed <- fmt.Errorf("%s did not start: it ended, %v: see what it said", p.name, err)
			return
		}
		p.log.say(p.name, fmt.Sprintf("-- it ended (%v), and is started again", p.cmd.ProcessState))
		select {
		case <-time.After(time.Second):
		case <-p.quit:
			return
		}
	}
}

// once runs it to its end. The error is why it could not be started, or ended with another code than 0.
func (p *program) once() error {
	cmd := exec.Command(p.args[0], p.args[1:]...)
	out := &lines{name: p.name, log: p.log}
	if p.file != "" {
		file, err := os.OpenFile(p.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		out.all, out.matters = file, p.matters
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	// Of a group of its own: Ctrl-C is for us. And it is never left behind.
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
	p.log.say(p.name, fmt.Sprintf("-- started, pid %d", cmd.Process.Pid))
	return cmd.Wait()
}

// await waits until it is ready, cannot start, or ctx is done.
func (p *program) await(ctx context.Context) error {
	for {
		err := p.ask(ctx)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.up = true
			return nil
		}
		select {
		case err := <-p.failed:
			return err
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				p.tell()
			}
			return fmt.Errorf("%s is not ready: %w", p.name, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// matters says whether a line is to be said: a warning or an error, but of a start or an end, where servers of NATS miss each other.
func (p *program) matters(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up && !p.stopping && !strings.Contains(line, " [INF] ")
}

// tell says all that it has said, if that was kept.
func (p *program) tell() {
	if text, err := os.ReadFile(p.file); err == nil {
		p.log.say(p.name, strings.TrimSuffix(string(text), "\n"))
	}
}

// ask asks whether it is ready.
func (p *program) ask(ctx context.Context) error {
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

func (p *program) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// stop ends programs, and waits for them.
func stop(some []*program) {
	var wg sync.WaitGroup
	for _, p := range some {
		if p.quit != nil {
			wg.Go(p.stop)
		}
	}
	wg.Wait()
}

// stop ends it with SIGTERM, or SIGKILL in the end.
func (p *program) stop() {
	p.mu.Lock()
	p.stopping = true
	close(p.quit)
	p.signal(syscall.SIGTERM)
	p.mu.Unlock()
	select {
	case <-p.ended:
		return
	case <-time.After(10 * time.Second):
	}
	p.mu.Lock()
	p.signal(syscall.SIGKILL)
	p.mu.Unlock()
	<-p.ended
}

// signal sends a signal to it if it runs. The mutex must be held.
func (p *program) signal(sig syscall.Signal) {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(sig) // It may have ended.
	}
}

// journal is what all of them say.
type journal struct {
	mu  sync.Mutex
	out io.Writer // Guarded by mu.
}

// say writes text, each line of it behind a name.
func (j *journal) say(name, text string) {
	var b strings.Builder
	for line := range strings.Lines(text + "\n") {
		fmt.Fprintf(&b, "%-8s| %s", name, line)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = io.WriteString(j.out, b.String())
}

// lines is an io.Writer that says whole lines. Of a program's one goroutine.
type lines struct {
	name    string
	log     *journal
	all     io.Writer              // Gets all, if set.
	matters func(line string) bool // If set, which lines are said.
	rest    []byte
}

// longest is how much of a line is waited for.
const longest = 16 << 10

// Write is io.Writer's; b is copied.
func (l *lines) Write(b []byte) (int, error) {
	if l.all != nil {
		_, _ = l.all.Write(b) // With a full disk there is less to read.
	}
	l.rest = append(l.rest, b...)
	end := bytes.LastIndexByte(l.rest, '\n')
	if end < 0 && len(l.rest) >= longest {
		end = len(l.rest)
	}
	if end >= 0 {
		l.say(string(l.rest[:end]))
		l.rest = append(l.rest[:0], l.rest[min(end+1, len(l.rest)):]...)
	}
	return len(b), nil
}

func (l *lines) say(text string) {
	if l.matters == nil {
		l.log.say(l.name, text)
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		if l.matters(line) {
			l.log.say(l.name, line)
		}
	}
}
