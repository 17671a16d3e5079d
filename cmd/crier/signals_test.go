package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/logtest"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// TestSignalsDoNotEnd checks that signals that people and supervisors commonly send neither end nor stop the server.
func TestSignalsDoNotEnd(t *testing.T) {
	var log logtest.Buffer
	crier, addrs, stop := startLogged(t, &log, "--listen=127.0.0.1:0", "--drain=0")
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGTTOU, syscall.SIGTTIN,
		syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGCONT, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGIO, syscall.SIGPWR,
		syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGQUIT, syscall.Signal(35), syscall.Signal(64),
	} {
		if err := crier.Signal(sig); err != nil {
			t.Fatalf("%v: %v", sig, err)
		}
		request(t, addrs["addr"])
		if state := stateOf(t, crier.Pid); state == 'T' || state == 'Z' {
			t.Fatalf("%v: it is in state %c", sig, state)
		}
	}
	log.Await(t, "nothing is reloaded: there is neither --config nor --auth")
	log.Await(t, "SIGQUIT: ")
	log.Await(t, "main.serve(") // In a stack.
	if err := stop(); err != nil {
		t.Errorf("crier ended with %v", err)
	}
}

// stateOf returns the state of a process: proc_pid_stat(5).
func stateOf(t *testing.T, pid int) byte {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	if !ok || rest == "" {
		t.Fatalf("got %q", stat)
	}
	return rest[0]
}

// TestNohup checks that a SIGHUP that was ignored at the start does not end crier, but reloads files.
func TestNohup(t *testing.T) {
	config := filepath.Join(t.TempDir(), "crier.toml")
	if err := os.WriteFile(config, []byte("drain = \"0s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"no file": nil, "a file": {"--config=" + config}} {
		log := newStuckPipe(t)
		args = append([]string{"-c", `trap "" HUP; exec "$0" "$@"`, build(t), "--listen=127.0.0.1:0"}, args...)
		cmd := startWith(t, "/bin/sh", log.w, args...)
		addr := addrIn(t, log.await(t, "serving"), "addr")
		_ = cmd.Process.Signal(syscall.SIGHUP)
		if name == "a file" {
			log.await(t, "msg=reloaded")
		}
		request(t, addr)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if line := log.await(t, "msg="); !strings.Contains(line, "draining") {
			t.Errorf("%s: the log has %q", name, line)
		}
		checkExit(t, cmd, 0)
	}
}

// onTerminal starts a program with a controlling terminal, and returns its end of it, our end, and the address at which
// it serves.
func onTerminal(t *testing.T, bin string, args ...string) (cmd *exec.Cmd, ours *os.File, log *stuckPipe, addr string) {
	t.Helper()
	ours, theirs := terminal(t)
	log = newStuckPipe(t)
	cmd = exec.Command(bin, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, log.w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // Ctty is standard input.
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	theirs.Close()
	return cmd, ours, log, addrIn(t, log.await(t, "serving"), "addr")
}

// TestTerminalClosed checks that crier drains and ends when the terminal that started it is closed, and at no other
// SIGHUP.
func TestTerminalClosed(t *testing.T) {
	t.Parallel()
	bin := build(t)
	flags := []string{"--listen=127.0.0.1:0", "--drain=0"}
	for _, tt := range []struct {
		name string
		bin  string
		args []string
		code int
	}{
		{"crier has the terminal", bin, flags, 0},
		{"a shell has it", "/bin/sh", append([]string{"-c", `"$0" "$@"; exit`, bin}, flags...), -1}, // By SIGHUP.
	} {
		cmd, ours, log, addr := onTerminal(t, tt.bin, tt.args...)
		conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if tt.bin == bin {
			_ = cmd.Process.Signal(syscall.SIGHUP)
			log.await(t, "nothing is reloaded")
			request(t, addr)
		}
		ours.Close()
		log.await(t, "msg=draining signal=hangup")
		if code := readClose(conn); code != ws.StatusGoingAway {
			t.Errorf("%s: the client got %v, want status 1001", tt.name, code)
		}
		log.await(t, "msg=stopped")
		checkExit(t, cmd, tt.code)
	}
}

// TestTerminalClosedWhileDraining checks that a closed terminal does not count as a second signal.
func TestTerminalClosedWhileDraining(t *testing.T) {
	t.Parallel()
	cmd, ours, log, addr := onTerminal(t, build(t), "--listen=127.0.0.1:0", "--drain=0")
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := ours.Write([]byte{3}); err != nil { // Control and C.
		t.Fatal(err)
	}
	log.await(t, "msg=draining signal=interrupt")
	ours.Close()
	if code := readClose(conn); code != ws.StatusGoingAway {
		t.Errorf("the client got %v, want status 1001", code)
	}
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway,
		"")))); err != nil {
		t.Fatal(err)
	}
	checkExit(t, cmd, 0)
}

// readClose reads up to a close frame and returns its status, or 0.
func readClose(conn io.ReadWriter) ws.StatusCode {
	for {
		header, err := ws.ReadHeader(conn)
		if err != nil {
			return 0
		}
		payload := make([]byte, header.Length) // crier's own frames are small here.
		if _, err := io.ReadFull(conn, payload); err != nil {
			return 0
		}
		if header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(payload)
			return code
		}
	}
}

// TestBackground checks that crier serves in the background of a terminal that stops background processes which write
// to it, and that SIGTERM ends crier there, also when the terminal has been closed.
func TestBackground(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]bool{"terminal open": false, "terminal closed": true} {
		t.Run(name, func(t *testing.T) {
			b := startInBackground(t)
			request(t, b.addr)
			b.shown.Await(t, "handshake refused")
			request(t, b.addr)
			if closed { // The kernel sends SIGHUP to the shell, and not to a background process.
				b.ours.Close()
				_ = b.shell.Wait()
				request(t, b.addr)
			}
			if err := syscall.Kill(b.pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if !closed {
				b.shown.Await(t, "ended with 0;")
			}
			criertest.Eventually(t, "crier to end", func() bool {
				stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(b.pid), "stat"))
				// The process that adopted it may be slow to reap it.
				return errors.Is(err, os.ErrNotExist) || bytes.Contains(stat, []byte(") Z "))
			})
		})
	}
}

// background is a crier in the background of a terminal, and its shell, which leads the session.
type background struct {
	shell *exec.Cmd
	pid   int // Of crier.
	ours  *os.File
	shown logtest.Buffer
	addr  string
}

func startInBackground(t *testing.T) *background {
	t.Helper()
	ours, theirs := terminal(t)
	termios, err := unix.IoctlGetTermios(int(theirs.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	termios.Lflag |= unix.TOSTOP
	if err := unix.IoctlSetTermios(int(theirs.Fd()), unix.TCSETS, termios); err != nil {
		t.Fatal(err)
	}
	b := &background{ours: ours, addr: freeAddr(t)}
	// Job control gives a background process a process group of its own.
	b.shell = exec.Command("/bin/sh", "-c", `set -m; "$0" "$@" & echo "pid $!;"; wait $!; echo "ended with $?;"`,
		build(t), "--listen="+b.addr, "--log-level=debug", "--drain=0")
	b.shell.Stdin, b.shell.Stdout, b.shell.Stderr = theirs, theirs, theirs
	b.shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := b.shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.shell.Process.Kill()
		_ = b.shell.Wait() // Fails if the shell was already waited for.
	})
	theirs.Close()
	go func() { _, _ = io.Copy(&b.shown, ours) }() // Ends when ours is closed, or when no process has the terminal.
	b.shown.Await(t, ";")
	_, after, _ := strings.Cut(b.shown.String(), "pid ")
	number, _, _ := strings.Cut(after, ";")
	if b.pid, err = strconv.Atoi(number); err != nil {
		t.Fatalf("the shell printed %q, want the process ID of crier", b.shown.String())
	}
	t.Cleanup(func() { _ = syscall.Kill(b.pid, syscall.SIGKILL) }) // It has ended, unless the test failed.
	awaitServing(t, "in the background", b.addr)
	return b
}

// TestHangup checks when SIGHUP means that the terminal was closed.
func TestHangup(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events string // S is SIGHUP, . a tick; in capitals or as : without the terminal.
		closed bool
	}{
		{"reload", "..s..", false},
		{"terminal first", "..S", true},
		{"terminal and a tick first", "..:S", true},
		{"signal first", "..s:", true},
		{"signal somewhat before", "..s..:", true},
		{"signal long before", "..s.....:", false},
		{"outlived the terminal", "..:::::S", false},
		{"outlived it, and twice", "..:::::SS", false},
		{"nothing", ".....", false},
	} {
		h := hangup{sinceSignal: never}
		closed, over := false, false
		for _, e := range tt.events {
			switch e {
			case 's', 'S':
				closed = closed || h.noteSIGHUP(e == 's')
			default:
				if over {
					continue
				}
				var now bool
				now, over = h.noteTick(e == '.')
				closed = closed || now
			}
		}
		if closed != tt.closed {
			t.Errorf("%s: got %v, want %v", tt.name, closed, tt.closed)
		}
	}
}
