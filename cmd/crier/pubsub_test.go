package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command runs the program with an input, and returns its output and exit code.
func command(t *testing.T, bin, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &log
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), log.String(), cmd.ProcessState.ExitCode()
}

// TestPubSub checks that crier sub prints the lines that crier pub publishes.
func TestPubSub(t *testing.T) {
	bin := build(t)
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels", "--path=/ws")
	admin, server := "--admin-url=http://"+addrs["admin"], "--server=ws://"+addrs["addr"]+"/ws"
	var lines strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, "line %d <&>\n", i)
	}
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, log, code := command(t, bin, lines.String(), "pub", admin, "--json", "a room/ö")
	if code != 0 || log != "" || strings.Count(out, `"receivers":0`) != 3000 {
		t.Fatalf("pub: got code %d, %q, %d answers", code, log, strings.Count(out, "\n"))
	}
	out, log, code = command(t, bin, "", "sub", server, "--last=3000", "--count=3000", "a room/ö")
	if code != 0 || log != "" || out != lines.String() {
		t.Errorf("sub: got code %d, %q, %d lines", code, log, strings.Count(out, "\n"))
	}
	if _, log, code := command(t, bin, "", "pub", admin, "files", file); code != 0 || log != "" {
		t.Errorf("pub of a file: got code %d, %q", code, log)
	}
	out, _, code = command(t, bin, "", "sub", server, "--last=1", "--count=1", "--json", "files")
	if code != 0 || !strings.Contains(out, `-3000","data":"line 2999 <&>"}`) {
		t.Errorf("sub --json: got code %d, %s", code, out)
	}
	out, log, code = command(t, bin, "", "sub", server, "--since=old-5", "--count=1", "files")
	if code != 0 || out != "line 0 <&>\n" || !strings.Contains(log, "after old-5") {
		t.Errorf("sub of another time: got code %d, %q, %q", code, out, log)
	}
	// sub follows until a signal.
	sub := exec.Command(bin, "sub", server, "news")
	pipe, err := sub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() { // Ends with sub.
		b := make([]byte, 100)
		n, _ := pipe.Read(b)
		got <- string(b[:n])
	}()
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Post("http://"+addrs["admin"]+"/v1/publish/news", "", strings.NewReader("now"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		select {
		case s := <-got:
			if s != "now\n" {
				t.Errorf("sub: got %q", s)
			}
		case <-time.After(20 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
			t.Error("sub does not get the message")
		}
		break
	}
	http.DefaultClient.CloseIdleConnections()
	_ = sub.Process.Signal(syscall.SIGINT)
	if err := sub.Wait(); err != nil {
		t.Errorf("sub, interrupted: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestPubWithoutChannels checks the hint if the server has no channels.
func TestPubWithoutChannels(t *testing.T) {
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")
	bin, admin := build(t), "http://"+addrs["admin"]
	if _, log, code := command(t, bin, "hello\n", "pub", "--admin-url="+admin, "news"); code != 1 ||
		!strings.Contains(log, `"news", on a server without channels`) ||
		!strings.Contains(log, "\nhint: start crier with --channels;") {
		t.Errorf("pub: got code %d, %q, want 1 and to start crier with --channels", code, log)
	}
	resp, err := http.Post(admin+"/v1/publish/news", "", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 400 ||
		!strings.Contains(string(body), "start crier with --channels") {
		t.Errorf("the admin API: got %d, %s, %v, want 400 and to start crier with --channels", resp.StatusCode, body, err)
	}
	if _, log, code := command(t, bin, "hello\n", "pub", "--admin-url="+admin); code != 0 {
		t.Errorf("pub without a channel: got code %d, %q", code, log)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestPubSubFail checks errors and their exit codes.
func TestPubSubFail(t *testing.T) {
	bin := build(t)
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels", "--path=/ws",
		"--max-message=10")
	admin := "--admin-url=http://" + addrs["admin"]
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, tt := range []struct {
		name, stdin string
		args        []string
		code        int
		says        string
	}{
		{"line too large", "ok\n" + strings.Repeat("x", 11), []string{"pub", admin, "c"}, 1, "line 2: 413"},
		{"no UTF-8", "ok\n\xff\n", []string{"pub", admin, "c"}, 1, "line 2 is not valid UTF-8"},
		{"no such channel", "ok\n", []string{"pub", admin, "a\nb"}, 1, "control character"},
		{"no file", "", []string{"pub", admin, "c", "/nonexistent"}, 2, "nonexistent"},
		{"no server", "ok\n", []string{"pub", "--admin-url=http://" + closed.Addr().String(), "--retry=10ms", "c"}, 1,
			"published up to line 0"},
		{"no http", "", []string{"pub", "--admin-url=ws://x", "c"}, 2, "--admin-url"},
		{"wrong path", "", []string{"sub", "--server=ws://" + addrs["addr"] + "/other", "c"}, 1, "404 Not Found"},
		{"wrong id", "", []string{"sub", "--server=ws://" + addrs["addr"] + "/ws", "--since=5", "c"}, 1, "since is"},
		{"no ws", "", []string{"sub", "--server=http://x", "c"}, 2, "--server"},
		{"since and last", "", []string{"sub", "--since=a-1", "--last=1", "c"}, 2, "--since and --last"},
		{"once", "", []string{"sub", "--server=ws://" + closed.Addr().String(), "--once", "c"}, 1, "refused"},
	} {
		out, log, code := command(t, bin, tt.stdin, tt.args...)
		if code != tt.code || !strings.Contains(log, tt.says) || out != "" {
			t.Errorf("%s: got code %d, %q, want %d and %q", tt.name, code, log, tt.code, tt.says)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
