package scale

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
)

// process is a child process that must end before its test does.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	log   logBuffer // Its standard error.
	ended bool
}

// start starts a process. It is killed at the end of the test, if it still runs, and when this process ends.
func start(t *testing.T, p *process) {
	t.Helper()
	p.t = t
	p.cmd.Stderr = &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.ended {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("log of %s, its end:\n%s", p.cmd.Path, p.log.tail())
		}
	})
}

// exit waits for the end of the process and returns its exit code, or -1 if a signal ended it.
func (p *process) exit() int {
	p.t.Helper()
	killer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait() // The error is the exit code.
	p.ended = true
	if !killer.Stop() {
		p.t.Fatalf("%s did not end in %v", p.cmd.Path, patience)
	}
	if strings.Contains(p.log.String(), "DATA RACE") {
		p.t.Errorf("%s had a data race", p.cmd.Path)
	}
	return p.cmd.ProcessState.ExitCode()
}

// proc returns the content of a file in /proc/PID.
func (p *process) proc(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// fds returns the number of open file descriptors.
func (p *process) fds() int {
	p.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}

// status returns a number of /proc/PID/status, proc_pid_status(5).
func (p *process) status(name string) (n int) {
	p.t.Helper()
	_, rest, _ := strings.Cut(p.proc("status"), "\n"+name+":")
	if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	return n
}

// rssAnon returns RssAnon in bytes.
func (p *process) rssAnon() int {
	p.t.Helper()
	return p.status("RssAnon") << 10
}

// threads returns the number of threads.
func (p *process) threads() int {
	p.t.Helper()
	return p.status("Threads")
}

// cpu returns the user and system time used, in steps of 10 ms, proc_pid_stat(5).
func (p *process) cpu() time.Duration {
	p.t.Helper()
	stat := p.proc("stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // From the third on.
	var ticks int
	for _, f := range fields[14-3 : 16-3] {
		n, err := strconv.Atoi(f)
		if err != nil {
			p.t.Fatalf("stat: %v", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// server is a re-executed test binary that serves.
type server struct {
	process
	port    int
	fdsIdle int // Open file descriptors without a connection.
	in      io.Writer
	out     *bufio.Scanner
	outFile *os.File
}

// startServer starts a server process and connects a first client to it, so that everything that the server allocates
// once is allocated.
func startServer(t *testing.T, cfg childConfig) *server {
	t.Helper()
	config, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{process: process{cmd: exec.Command(exe)}}
	s.cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	in, inErr := s.cmd.StdinPipe()
	out, outErr := s.cmd.StdoutPipe()
	if inErr != nil || outErr != nil {
		t.Fatal(inErr, outErr)
	}
	s.in, s.out, s.outFile = in, bufio.NewScanner(out), out.(*os.File)
	start(t, &s.process)
	s.port = s.ask("stats").Port
	first := newAlone(t, s.port)
	s.fdsIdle = s.fds() - 1
	first.reset()
	criertest.Eventually(t, "the first client to be gone", func() bool { return s.ask("stats").Stats.Open == 0 && s.fds() == s.fdsIdle })
	return s
}

// ask sends a command to the server process and returns its answer.
func (s *server) ask(command string) (a answer) {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		s.t.Fatalf("server process: %v", err)
	}
	if err := s.outFile.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if !s.out.Scan() {
		s.t.Fatalf("server process: no answer to %q: %v", command, s.out.Err())
	}
	if err := json.Unmarshal(s.out.Bytes(), &a); err != nil {
		s.t.Fatalf("server process: %v", err)
	}
	return a
}

// quit shuts the server down, and checks that no connection is left.
func (s *server) quit() {
	s.t.Helper()
	a := s.ask("quit")
	if a.Stats.Open != 0 || a.Stats.Handshakes != 0 {
		s.t.Errorf("after Shutdown: %d open, %d handshakes, want none", a.Stats.Open, a.Stats.Handshakes)
	}
	if code := s.exit(); code != 0 {
		s.t.Errorf("server process: exit code %d, want 0", code)
	}
}

// logBuffer keeps the log of a process. Safe for concurrent use.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // Guarded by mu.
}

// Write appends b, which is copied.
func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) tail() string {
	s := l.String()
	return s[max(0, len(s)-8<<10):]
}
