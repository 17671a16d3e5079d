package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/logqueue"
	"github.com/crier-ws/crier/internal/logtest"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// stuckPipe is a small pipe for the log of a program. A test reads it, fills it or stops reading.
type stuckPipe struct {
	r, w *os.File
	rd   *bufio.Reader // Reads from r.
}

func newStuckPipe(t *testing.T) *stuckPipe {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	return &stuckPipe{r, w, bufio.NewReader(r)}
}

// fill fills the pipe, so that the next write blocks.
func (p *stuckPipe) fill(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("/proc/self/fd/%d", p.w.Fd()) // A new open file description leaves the program's end blocking.
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil {
		_, err = unix.Write(fd, []byte("x"))
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
}

// await reads until a line contains s, and returns the line.
func (p *stuckPipe) await(t *testing.T, s string) string {
	t.Helper()
	_ = p.r.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := p.rd.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for %q: %v", s, err)
		}
		if strings.Contains(line, s) {
			return line
		}
	}
}

// startWith starts a program with a log, which may be nil, and kills it at the end of the test.
func startWith(t *testing.T, bin string, log *os.File, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(bin, args...)
	if log != nil {
		cmd.Stderr = log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // It may have ended.
	return cmd
}

// checkExit waits for the end of a program, and checks its exit code.
func checkExit(t *testing.T, cmd *exec.Cmd, code int) {
	t.Helper()
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("%v: got %v, want exit code %d", cmd.Args[1:], cmd.ProcessState, code)
	}
}

// addrIn returns an address in the log line "serving".
func addrIn(t *testing.T, line, name string) string {
	t.Helper()
	m := regexp.MustCompile(`\b` + name + `=(\S+)`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("there is no %s in %q", name, line)
	}
	return m[1]
}

// request sends a request that the server answers at once. It causes two log lines at debug level.
func request(t *testing.T, addr string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Fatalf("got %s, want 426", resp.Status)
	}
}

func droppedLines(t *testing.T, admin string) bool {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^crier_log_lines_dropped_total (\S+)$`).FindSubmatch(all)
	if m == nil {
		t.Fatal("there is no crier_log_lines_dropped_total")
	}
	return string(m[1]) != "0"
}

// TestLogReaderStuck checks that clients are served while nobody reads the log, that the log reports dropped lines
// afterwards, and that SIGTERM ends the server.
func TestLogReaderStuck(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	log := newStuckPipe(t)
	cmd := startWith(t, build(t), log.w, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-level=debug", "--drain=0")
	line := log.await(t, "serving")
	addr, admin := addrIn(t, line, "addr"), addrIn(t, line, "admin")
	log.fill(t)
	for deadline := time.Now().Add(patience); !droppedLines(t, admin); {
		if time.Now().After(deadline) {
			t.Fatal("no line is dropped")
		}
		_ = cmd.Process.Signal(syscall.SIGQUIT) // Each logs some hundred lines.
		request(t, addr)
	}
	log.await(t, `level=ERROR msg="lines of the log were dropped`)
	log.fill(t)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	checkExit(t, cmd, 0)
}

// TestDroppedLinesNotice checks that the notice about dropped lines has the format of the log.
func TestDroppedLinesNotice(t *testing.T) {
	for format, want := range map[string]string{
		"text": ` level=ERROR msg="lines of the log were dropped: `,
		"json": `"level":"ERROR","msg":"lines of the log were dropped: `,
	} {
		var out logtest.Buffer
		q := logqueue.New(&out)
		logger := (&serveCmd{LogFormat: flags.Choice(format), LogLevel: "info"}).logger(streams{q})
		_, _ = q.Write(make([]byte, 1<<20)) // Larger than the queue.
		logger.Info("next")
		if !q.Close(patience) {
			t.Fatal("the log is not written")
		}
		if got := out.String(); !strings.Contains(got, want) || !strings.Contains(got, "next") {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
}

// TestLogReaderStuckAtEnd checks that a second signal, and an error at the start, do not wait for the log.
func TestLogReaderStuckAtEnd(t *testing.T) {
	bin := build(t)
	log := newStuckPipe(t)
	cmd := startWith(t, bin, log.w, "--listen=127.0.0.1:0", "--drain=1m")
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addrIn(t, log.await(t, "serving"), "addr"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // The client does not answer the close frame.
	_ = cmd.Process.Signal(syscall.SIGTERM)
	log.await(t, "draining")
	log.fill(t)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	checkExit(t, cmd, 1)
	taken := listening(t, "tcp", "127.0.0.1:0")
	checkExit(t, startWith(t, bin, log.w, "--listen="+taken.Addr().String()), 1)
	checkExit(t, startWith(t, bin, log.w, "--no-such-flag"), 2)
}

// TestLogReaderGone checks that the server survives the end of the reader of its log, and a full disk.
func TestLogReaderGone(t *testing.T) {
	bin := build(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, ignored := range []bool{false, true} { // systemd ignores SIGPIPE for its services.
		log := newStuckPipe(t)
		args := []string{"--listen=127.0.0.1:0", "--log-level=debug", "--drain=0"}
		cmd := startWith(t, bin, log.w, args...)
		if ignored {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			cmd = startWith(t, "/bin/sh", log.w, append([]string{"-c", `trap "" PIPE; exec "$0" "$@"`, bin}, args...)...)
		}
		addr := addrIn(t, log.await(t, "serving"), "addr")
		log.w.Close()
		log.r.Close()
		for range 10 {
			request(t, addr)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		checkExit(t, cmd, 0)
	}
	for _, how := range []struct {
		name   string
		stderr *os.File
		exec   string
	}{{"a full disk", full, `exec "$0" "$@"`}, {"no standard error", nil, `exec "$0" "$@" 2>&-`}} {
		addr := freeAddr(t)
		cmd := startWith(t, "/bin/sh", how.stderr, "-c", how.exec, bin, "--listen="+addr, "--log-level=debug", "--drain=0")
		awaitServing(t, how.name, addr)
		for range 10 {
			request(t, addr) // Checks that the log was not written to a connection.
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		checkExit(t, cmd, 0)
	}
}

// freeAddr returns an address on which no process listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln := listening(t, "tcp", "127.0.0.1:0")
	defer ln.Close()
	return ln.Addr().String()
}

// awaitServing waits until an address accepts connections.
func awaitServing(t *testing.T, name, addr string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not serve: %v", name, err)
		}
	}
}

// TestOutputReaderGone checks that commands whose output nobody reads do their work, and end without a signal or an
// error.
func TestOutputReaderGone(t *testing.T) {
	bin := build(t)
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels")
	server, admin := "--server=ws://"+addrs["addr"], "--admin-url=http://"+addrs["admin"]
	lines := strings.Repeat("line\n", 2500)
	for _, args := range [][]string{
		{"pub", admin, "--json", "c"}, {"sub", server, "--last=2500", "c"}, {"sub", server, "--last=1", "--json", "c"},
		{"version"}, {"--help"}, {"config"}, {"config", "--template"}, {"completion", "bash"},
		{"doctor", "--quick", "--conns=1"}, {"man", t.TempDir()},
		{"load", "--conns=2", "--duration=100ms", "ws://" + addrs["addr"] + "/load"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		cmd := exec.Command(bin, args...)
		var log bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines), w, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		checkExit(t, cmd, 0)
		if log.Len() > 0 {
			t.Errorf("%v: got %q", args, log.String())
		}
	}
	if out, _, _ := command(t, bin, "", "sub", server, "--last=3000", "--count=2500", "c"); out != lines {
		t.Errorf("got %d bytes, want all that pub was given", len(out))
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestLogReaderGoneOfCommands checks that commands other than serve survive the end of the reader of standard error.
func TestLogReaderGoneOfCommands(t *testing.T) {
	t.Parallel()
	bin := build(t)
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels")
	nowhere := freeAddr(t)
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"pub", "--admin-url=http://" + nowhere, "--retry=300ms", "c"}, 1},
		{[]string{"sub", "--server=ws://" + nowhere, "--once", "c"}, 1},
		{[]string{"load", "--conns=2", "--duration=100ms", "ws://" + nowhere}, 1},
		{[]string{"load", "--conns=2", "--duration=6s", "ws://" + addrs["addr"] + "/load"}, 0}, // There is a line every 5 s.
		{[]string{"sub", "--no-such-flag"}, 2},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		cmd := exec.Command(bin, tt.args...)
		cmd.Stdin, cmd.Stderr = strings.NewReader("line\n"), w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		checkExit(t, cmd, tt.code)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestOutputStuck checks that a signal ends crier sub and crier load while nobody reads their output.
func TestOutputStuck(t *testing.T) {
	t.Parallel()
	bin := build(t)
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels")
	lines := strings.Repeat("line\n", 2000)
	if _, log, code := command(t, bin, lines, "pub", "--admin-url=http://"+addrs["admin"], "c"); code != 0 {
		t.Fatal(log)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		sig  os.Signal
		code int
		args []string
	}{
		{syscall.SIGINT, 0, []string{"sub", "--server=ws://" + addrs["addr"], "--last=2000", "c"}},
		{syscall.SIGTERM, 0, []string{"sub", "--server=ws://" + addrs["addr"], "--last=2000", "c"}},
		{syscall.SIGINT, -1, []string{"load", "--conns=2", "--duration=100ms", "ws://" + addrs["addr"] + "/load"}}, // By it.
	} {
		t.Run(fmt.Sprintf("%s, %v", tt.args[0], tt.sig), func(t *testing.T) {
			t.Parallel()
			out := newStuckPipe(t)
			out.fill(t)
			cmd := exec.Command(bin, tt.args...)
			cmd.Stdout = out.w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			awaitBlocked(t, cmd.Process.Pid)
			_ = cmd.Process.Signal(tt.sig)
			checkExit(t, cmd, tt.code)
		})
	}
}

// awaitBlocked waits until a thread of a process is blocked in a write to a pipe.
func awaitBlocked(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		for _, name := range calls {
			if call, _ := os.ReadFile(name); strings.HasPrefix(string(call), fmt.Sprintf("%d 0x1 ", unix.SYS_WRITE)) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is written to standard output")
		}
	}
}
