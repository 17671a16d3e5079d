package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns the two ends of a new terminal: ours, and the end for a program. See pty(7).
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	theirs = os.NewFile(peer, "the terminal")
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// shown runs the program to its end, on a terminal or with both streams on a pipe, and returns its output. during, if
// not nil, is called when the program serves.
func shown(t *testing.T, bin string, onTerminal bool, env []string, during func(addr string, stop func()),
	args ...string) string {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Env = append(append(os.Environ(), "NO_COLOR=", "TERM=xterm"), env...)
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if onTerminal {
		ours.Close()
		theirs.Close()
		ours, theirs = terminal(t)
	}
	defer ours.Close()
	cmd.Stdout, cmd.Stderr = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
	theirs.Close()
	var all bytes.Buffer
	b := make([]byte, 1<<10)
	for {
		n, err := ours.Read(b)
		all.Write(b[:n])
		if m := servedAt.FindStringSubmatch(all.String()); m != nil && during != nil {
			during(m[1], func() { _ = cmd.Process.Signal(unix.SIGTERM) })
			during = nil
		}
		if err != nil { // EIO when the other end of a terminal is closed.
			break
		}
	}
	_ = cmd.Wait() // Some commands fail on purpose.
	return strings.ReplaceAll(all.String(), "\r\n", "\n")
}

var servedAt = regexp.MustCompile(`addr"?[=:]"?(127\.0\.0\.1:\d+)[ "]`)

// TestColours checks that the output has colours on a terminal, unless the environment turns them off.
func TestColours(t *testing.T) {
	bin := build(t)
	for _, tt := range []struct {
		args  string
		codes []string // Control sequences on a terminal.
	}{
		{"--lisen :1", []string{"\x1b[31mcrier:\x1b[0m unknown flag --lisen\n", "\x1b[36mhint:\x1b[0m did you mean"}},
		{"probe --admin nowhere", []string{"\x1b[31mcrier:\x1b[0m --admin nowhere: ", "\x1b[36mhint:\x1b[0m want"}},
		{"doctor --quick --conns=2000000000", []string{"\x1b[31mSMALL  \x1b[0m open files",
			"connections \x1b[31mdo not fit\x1b[0m; the", "\x1b[31mcrier:\x1b[0m 2000000000"}},
		{"doctor --quick --conns=10", []string{"\x1b[32mok     \x1b[0m open files",
			"10 connections \x1b[32mfit\x1b[0m; the"}},
		{"doctor --quick --conns=10 --json", nil},
		{"--log-format=json --listen 127.0.0.1:0 --max-conns=2000000000 --admin 192.0.2.1:1 --admin-token-file /dev/null",
			[]string{"\x1b[31mcrier:\x1b[0m"}},
		{"version", nil},
	} {
		args := strings.Fields(tt.args)
		got := shown(t, bin, true, nil, nil, args...)
		for _, code := range tt.codes {
			if !strings.Contains(got, code) {
				t.Errorf("%s: there is no %q in %q", tt.args, code, got)
			}
		}
		if tt.codes == nil && strings.Contains(got, "\x1b") {
			t.Errorf("%s: there are codes in %q", tt.args, got)
		}
		for _, none := range []struct {
			name       string
			onTerminal bool
			env        string
		}{{"a pipe", false, "TERM=xterm"}, {"NO_COLOR", true, "NO_COLOR=1"}, {"a dumb terminal", true, "TERM=dumb"}} {
			if got := shown(t, bin, none.onTerminal, []string{none.env}, nil, args...); strings.Contains(got, "\x1b") ||
				got == "" {
				t.Errorf("%s, %s: there are codes, or nothing, in %q", tt.args, none.name, got)
			}
		}
	}
}

// TestColoursOfEach checks that colours depend on each stream by itself, as with crier doctor > report.
func TestColoursOfEach(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	ours, theirs := terminal(t)
	var out bytes.Buffer
	if code := run([]string{"doctor", "--quick", "--conns=2000000000"}, &out, theirs); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	b := make([]byte, 1<<10)
	n, err := ours.Read(b) // The output fits the buffer of a terminal.
	if err != nil || !strings.HasPrefix(string(b[:n]), "\x1b[31mcrier:\x1b[0m") {
		t.Errorf("got %q, %v on the terminal", b[:n], err)
	}
	if strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "SMALL") {
		t.Errorf("got %q in the file", out.String())
	}
}

// hostile has paths that would control a terminal: set a colour or a title, or imitate another level. The server
// accepts the last ones.
var hostile = []string{"/?last=%1b%5b31mlevel=ERROR%1b%5d0%3btitle%07", "/?last=%9b31m", "/?last=%c2%9b31m",
	"/\x1b[31m",
	"/level=ERROR", "/\u009b31mlevel=ERROR", "/\x9b31mlevel=WARN", "/%1b%5b31mlevel=WARN"}

// TestLogOnTerminal checks that warnings have a colour, and that text of a peer has none.
func TestLogOnTerminal(t *testing.T) {
	bin := build(t)
	ask := func(addr string, stop func()) {
		defer stop()
		for _, target := range hostile {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: "+
				"crier.v1\r\n\r\n", target)
			_, _ = conn.Read(make([]byte, 1<<10)) // After the answer, its log lines have been written.
			conn.Close()
		}
	}
	args := []string{"--listen=127.0.0.1:0", "--channels", "--max-conns=2000000000", "--log-level=debug", "--drain=0"}
	got := shown(t, bin, true, nil, ask, args...)
	if !strings.Contains(got, " \x1b[33mlevel=WARN\x1b[0m msg=\"--max-conns is more than the limit") ||
		!strings.Contains(got, `\x1b[31mlevel=ERROR`) || !strings.Contains(got, "msg=connected") {
		t.Errorf("the warning has no colour, or the peer is not in the log: %q", got)
	}
	rest := strings.NewReplacer("\x1b[33mlevel=WARN\x1b[0m", "", "\n", "").Replace(got)
	if strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\ufffd' }) {
		t.Errorf("a peer's bytes are on the terminal: %q", got)
	}
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if got := shown(t, bin, true, []string{env}, ask, args...); strings.Contains(got, "\x1b") ||
			!strings.Contains(got, " level=WARN ") {
			t.Errorf("%s: got %q", env, got)
		}
	}
	if got := shown(t, bin, false, nil, ask, args...); strings.Contains(got, "\x1b") ||
		!strings.Contains(got, " level=WARN ") {
		t.Errorf("a pipe: got %q", got)
	}
	if got := shown(t, bin, true, nil, ask, append(args, "--log-format=json")...); strings.Contains(got, "\x1b[33m") ||
		!strings.Contains(got, `"level":"WARN"`) || strings.Contains(got, "\x1b") {
		t.Errorf("JSON: got %q", got)
	}
}

// TestMessagesOnTerminal checks that messages cannot control the terminal of crier sub, and that they are unchanged
// on a pipe.
func TestMessagesOnTerminal(t *testing.T) {
	bin := build(t)
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels", "--drain=0")
	const message = "red \x1b[31m \u009b31m ünïcode"
	if _, log, code := command(t, bin, message+"\n", "pub", "--admin-url=http://"+addrs["admin"], "c"); code != 0 {
		t.Fatalf("pub: got %d, %q", code, log)
	}
	for onTerminal, want := range map[bool]string{false: message, true: `red \x1b[31m \u009b31m ünïcode`} {
		got := shown(t, bin, onTerminal, nil, nil, "sub", "--server=ws://"+addrs["addr"], "--last=1", "--count=1", "c")
		if onTerminal {
			want = "\x1b[32mcrier:\x1b[0m connected to ws://" + addrs["addr"] + "/c; Ctrl-C ends\n" + want
		}
		if got != want+"\n" {
			t.Errorf("on a terminal %v: got %q, want %q", onTerminal, got, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
