package main

import (
	"bufio"
	"bytes"
	"fmt"
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

// activate starts the built program as systemd does, with sockets from fd 3 on. names has the names of the sockets,
// separated by colons. env has variables for the program, NAME=value; the value $$ stands for its process ID.
func activate(t *testing.T, bin, names string, lns []net.Listener, env []string, args ...string) *exec.Cmd {
	t.Helper()
	env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(lns)), "LISTEN_PID=$$", "LISTEN_FDNAMES="+names)
	// crier gets the process ID of the shell.
	cmd := exec.Command("sh", append([]string{"-c", strings.Join(env, " ") + ` exec "$0" "$@"`, bin}, args...)...)
	for _, ln := range lns {
		f, err := ln.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	return cmd
}

// startUntilEnd starts a program, and kills it at the end of the test.
func startUntilEnd(t *testing.T, cmd *exec.Cmd) (log *bytes.Buffer) {
	t.Helper()
	log = new(bytes.Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return log
}

// terminate ends a program with SIGTERM, and fails t unless it exits with 0.
func terminate(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	defer time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: got %v, want exit 0", err)
	}
}

// startHandshake connects and sends a WebSocket handshake. It does not wait for the answer.
func startHandshake(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	return conn
}

// checkAnswer fails t unless the answer on a connection has a status.
func checkAnswer(t *testing.T, conn net.Conn, status int) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Errorf("got %s, want %d", resp.Status, status)
	}
}

func listening(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// TestActivation checks that crier serves clients that connected before it started or while it restarted, because the
// service manager holds the socket.
func TestActivation(t *testing.T) {
	bin := build(t)
	first, second := listening(t, "tcp", "127.0.0.1:0"), listening(t, "unix", filepath.Join(t.TempDir(), "s"))
	back := listening(t, "tcp", "127.0.0.1:0")
	elsewhere := listening(t, "tcp", "127.0.0.1:0") // The port is in use, so crier would fail to listen on it.
	for round := range 2 {
		early, local := startHandshake(t, first.Addr()), startHandshake(t, second.Addr())
		cmd := activate(t, bin, "crier:unknown:admin", []net.Listener{first, second, back}, nil, "--listen",
			elsewhere.Addr().String(), "--admin", elsewhere.Addr().String())
		log := startUntilEnd(t, cmd)
		checkAnswer(t, early, http.StatusSwitchingProtocols)
		checkAnswer(t, local, http.StatusSwitchingProtocols)
		resp, err := http.Get("http://" + back.Addr().String() + "/livez")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		resp.Body.Close()
		early.Close()
		local.Close()
		terminate(t, cmd)
		for _, want := range []string{"--listen is not opened", "--admin is not opened", "msg=serving"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("round %d: the log does not say %q: %s", round, want, log)
			}
		}
	}
}

// TestActivationRefused checks the errors for sockets that crier must not or cannot serve.
func TestActivationRefused(t *testing.T) {
	bin := build(t)
	all := listening(t, "tcp", ":0")
	ours := listening(t, "tcp", "127.0.0.1:0")
	conn := startHandshake(t, ours.Addr())
	tests := []struct {
		name  string
		names string
		lns   []net.Listener
		args  []string
		says  string
	}{
		{"name that means nothing", "metrics", []net.Listener{ours}, nil, `"metrics"`},
		{"two for back ends", "admin:admin", []net.Listener{ours, ours}, nil, "at most one socket"},
		{"back ends from anywhere without a token", "admin", []net.Listener{all}, []string{"--listen=127.0.0.1:0"},
			"--admin-token-file"},
		{"token without a socket for back ends", "crier", []net.Listener{ours}, []string{"--admin-token-file=main.go"},
			"--admin-token-file"},
		{"connection", "crier", []net.Listener{connected{ours, conn}}, nil, "Accept=no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := activate(t, bin, tt.names, tt.lns, nil, tt.args...).CombinedOutput()
			exit, ok := err.(*exec.ExitError)
			if !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), tt.says) {
				t.Errorf("got %v and %q, want exit 2 and %q", err, out, tt.says)
			}
		})
	}
}

// connected is a listener whose file is a connection.
type connected struct {
	net.Listener
	conn net.Conn
}

func (c connected) File() (*os.File, error) { return c.conn.(*net.TCPConn).File() }

// TestActivationOfAnother checks that crier ignores sockets that are meant for another process.
func TestActivationOfAnother(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", "1")
	_, addrs, stop := startLogged(t, new(bytes.Buffer), "--listen=127.0.0.1:0")
	if !strings.HasPrefix(addrs["addr"], "127.0.0.1:") {
		t.Errorf("got addr=%s, want one of its own", addrs["addr"])
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestActivationReloads checks that SIGHUP accepts flags that are valid only because sockets were passed, although the
// environment no longer says so.
func TestActivationReloads(t *testing.T) {
	dir := t.TempDir()
	token, config := filepath.Join(dir, "token"), filepath.Join(dir, "crier.toml")
	for file, text := range map[string]string{
		token: strings.Repeat("s3cret", 4), config: "admin-token-file = '" + token + "'\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ln, back := listening(t, "tcp", "127.0.0.1:0"), listening(t, "tcp", "127.0.0.1:0")
	cmd := activate(t, build(t), "crier:admin", []net.Listener{ln, back}, nil, "--config", config)
	log := make(lines, 100)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	await := func(want string) {
		t.Helper()
		late := time.After(30 * time.Second)
		for {
			select {
			case got := <-log:
				if strings.Contains(got, want) {
					return
				}
				if strings.Contains(got, "nothing is reloaded") {
					t.Fatal(got)
				}
			case <-late:
				t.Fatalf("the log does not say %q", want)
			}
		}
	}
	await("msg=serving")
	_ = cmd.Process.Signal(syscall.SIGHUP)
	await("msg=reloaded")
	terminate(t, cmd)
}
