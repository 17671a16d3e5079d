package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
	"golang.org/x/sys/unix"
)

// isComplaint matches an error on standard error: what is wrong, and a hint.
var isComplaint = regexp.MustCompile(`\Acrier: [^\n]+\nhint: [^\n]+\n\z`)

// complaint runs a command line that fails, and returns its error.
func complaint(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, log bytes.Buffer
	if got := run(args, &out, &log); got != code {
		t.Errorf("%q: got exit code %d, want %d", args, got, code)
	}
	if out.Len() > 0 || !isComplaint.MatchString(log.String()) {
		t.Errorf("%q: got %q and %q, want no output, and an error and a hint in a line each", args, out.String(),
			log.String())
	}
	return log.String()
}

// TestUsage checks the errors of wrong settings: what was probably meant, and where the setting comes from.
func TestUsage(t *testing.T) {
	file := func(text string) string { return "--config=" + writeConfig(t, text) }
	for _, tt := range []struct {
		args string
		env  string // NAME=value
		says string // of both lines
	}{
		{"--lisen :1", "", "unknown flag --lisen\nhint: did you mean --listen? crier --help lists all"},
		{"sub --sever x", "", "unknown flag --sever\nhint: did you mean --server? crier sub --help lists all"},
		{"doctor --con 5", "", "did you mean --conns or --json?"},
		{"prove", "", "there is no command prove\nhint: did you mean crier probe?"},
		{"serv", "", "did you mean crier serve?"},
		{"p", "", "there is no command p\nhint: crier help lists the commands"},
		{"serve extra", "", "unexpected argument extra\nhint: crier serve --help describes"},
		{"load a pub", "", "unexpected argument pub\nhint: crier load --help describes"},
		{"--listen", "", "--listen needs a value\nhint: write --listen=VALUE"},
		{"--listen --path /x", "", "--listen needs a value\nhint: write --listen=VALUE"},
		{"--trusted-proxies 10.0.0.0/33", "", `--trusted-proxies is "10.0.0.0/33", want a network such as 10.0.0.0/8`},
		{"--max-message 2GiB --retain 5", "",
			"crier: --max-message is 2147483648, want 1 to 1GiB; --retain is 5, want at least 64KiB\n"},
		{"--retain 5 " + file("max-message = 2000000000\n"), "", "1GiB (from --config /"},
		{"--retain 5 " + file("max-message = 2000000000\n"), "", "--retain is 5, want at least 64KiB\n"},
		{file("max-message = \"5x\"\n"), "",
			`--max-message is "5x", want a size: bytes, or a whole number with KiB, MiB or GiB (from --config /`},
		{file("slow = \"maybe\"\n"), "", `but got "maybe" (from --config /`},
		{"--slow maybe " + file("slow = \"skip\"\n"), "", "but got \"maybe\"\n"},
		{"", "CRIER_SLOW=maybe", `but got "maybe" (from CRIER_SLOW)`},
		{"--slow maybe", "CRIER_SLOW=skip", "but got \"maybe\"\n"},
		{"", "CRIER_RETAIN=tiny", "MiB or GiB (from CRIER_RETAIN)\n"},
		{"", "CRIER_OTLP_ENDPOINT=https://user:s3cret@host", "(from CRIER_OTLP_ENDPOINT)\n"},
		{file("max-mesage = 5\nLisen = 1\n"), "", "there is no Lisen; --config /"},
		{file("max-mesage = 5\nLisen = 1\n"), "", "hint: did you mean listen, max-message?"},
		{"--config /nonexistent/x", "",
			"--config /nonexistent/x: no such file or directory\nhint: check the name: ls -l /nonexistent "},
		{"--config /", "", "--config /: is a directory"},
		{"pub a nonexistent", "", "FILE "},
		{"completion", "", `expected "<shell>"` + "\nhint: crier completion --help"},
		{"sub --server http://x", "", `--server is "http://x", want ws://HOST:PORT`},
	} {
		name, value, ok := strings.Cut(tt.env, "=")
		if ok {
			t.Setenv(name, value)
		}
		if got := complaint(t, 2, strings.Fields(tt.args)...); !strings.Contains(got, tt.says) ||
			strings.Contains(got, "s3cret") {
			t.Errorf("%s %s: got %q, want it to say %q", tt.env, tt.args, got, tt.says)
		}
		if ok {
			os.Unsetenv(name)
		}
	}
}

// answering returns the address of a server that answers each request with the status in its path.
func answering(w http.ResponseWriter, r *http.Request) {
	for part := range strings.SplitSeq(r.URL.Path, "/") {
		if code, err := strconv.Atoi(part); err == nil {
			http.Error(w, "the \x1b[31mbody", code)
			return
		}
	}
	http.NotFound(w, r)
}

// nobody returns an address on which no process listens.
func nobody(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return ln.Addr().String()
}

// hangingUp returns the address of a server that accepts connections and closes them.
func hangingUp(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // Ends with the listener; the cleanup waits.
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1<<10)) // So that it is an end and no reset.
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// TestNoAnswer checks the errors of connections that fail: where, why, and what to do.
func TestNoAnswer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(answering))
	defer srv.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(answering))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	at, tlsAt, gone, ends := srv.Listener.Addr().String(), secure.Listener.Addr().String(), nobody(t), hangingUp(t)
	_, greeting := servertest.Start(t, servertest.Loopback, broadcast.DefaultConfig())
	_, quiet := servertest.Start(t, servertest.Loopback, broadcast.Config{})
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pub := " --retry 0 c " + lines
	const load = "load --conns 2 --threads 1 --grace 1s --duration 10ms "
	for _, tt := range []struct {
		code             int
		args, says, hint string
	}{
		{1, "sub --once --server ws://" + gone, "--server ws://" + gone + "/: dial tcp " + gone, "of its --listen"},
		{1, "sub --once --server ws://" + at + "/401", "refused with 401 Unauthorized: the \\x1b[31mbody", "--token-file"},
		{1, "sub --once --server ws://" + at + "/403?token=s3cret", "/403/: refused with 403", "claim"},
		{1, "sub --once --server ws://" + at + "/404", "404", "--path"},
		{1, "sub --once --server ws://" + at + "/429", "429", "--max-conns-per-ip"},
		{1, "sub --once --server ws://" + at + "/503", "503", "--max-conns"},
		{1, "sub --once --server ws://" + ends, ends + "/: EOF", "TLS"},
		{1, "sub --once --server ws://" + tlsAt, "bad HTTP protocol version", "TLS"},
		{1, "sub --once --server wss://" + tlsAt, "certificate", "SSL_CERT_FILE"},
		{1, "sub --once --server wss://" + at, "tls", "write ws://"},
		{2, "sub --once --server ws://127.0.0.1:99999", "invalid port", "want ws://HOST:PORT"},
		{2, "sub --token-file /nonexistent/x", "--token-file /nonexistent/x: no such file", "ls -l /nonexistent "},
		{2, "sub --token-file " + empty, "is empty", "one line"},
		{1, "pub --admin-url http://" + gone + pub, "--admin-url http://" + gone + ": dial tcp", "with this --admin"},
		{1, "pub --admin-url http://" + at + "/401" + pub, "401 Unauthorized: the \\x1b[31mbody; published up to line 0",
			"--token-file"},
		{1, "pub --admin-url http://" + at + "/403" + pub, "403", "localhost"},
		{1, "pub --admin-url http://" + at + "/404" + pub, "404", "the server's --admin"},
		{1, "pub --admin-url http://" + at + "/413" + pub, "413", "--max-message"},
		{1, "pub --admin-url http://" + at + "/429" + pub, "429", "later"},
		{1, "pub --admin-url http://" + at + "/503" + pub, "503", "--retry"},
		{1, "pub --admin-url http://" + ends + pub, "EOF", "TLS"},
		{1, "pub --admin-url http://" + tlsAt + pub, "400", "TLS"},
		{1, "pub --admin-url https://" + tlsAt + pub, "certificate", "SSL_CERT_FILE"},
		{1, "pub --admin-url https://" + at + pub, "HTTP response to HTTPS", "write http://"},
		{2, "pub --token-file " + empty, "is empty", "one line"},
		{1, "probe --admin " + gone, "--admin " + gone + ": dial tcp", "with this --admin"},
		{1, "probe --admin " + at, "404", "the server's --admin"},
		{1, "probe --admin " + tlsAt, "400", "TLS"},
		{2, "probe --admin http://" + at, "too many colons", "HOST:PORT"},
		{1, load + "ws://" + gone, "ws://" + gone + ": with 0 of 2 connections", "of its --listen"},
		{1, load + "ws://" + at + "/401?token=s3cret", "401 Unauthorized", "?token=TOKEN"},
		{1, load + "ws://" + at + "/503", "503 Service Unavailable", "--max-conns"},
		{1, load + "ws://" + quiet.String(), "did not send the first message", "--greeting="},
		{1, load + "--greeting=other ws://" + greeting.String(), "does not greet as it should", "--greeting="},
		{1, load + "ws://" + ends, "closed by the server", "TLS"},
		{2, load + "wss://" + at, "TLS is not supported", "ws://"},
		{2, load + "http://" + at, "scheme", "want ws://"},
		{2, load + "ws://192.0.2.1", "--allow-remote", "this host"},
	} {
		got := complaint(t, tt.code, strings.Fields(tt.args)...)
		what, hint, _ := strings.Cut(got, "\nhint: ")
		if !strings.Contains(what, tt.says) || !strings.Contains(hint, tt.hint) || strings.Contains(got, "s3cret") {
			t.Errorf("%s: got %q, want %q and the hint %q", tt.args, got, tt.says, tt.hint)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestExplainListen checks errors that cannot be provoked by a test that runs as root.
func TestExplainListen(t *testing.T) {
	for _, tt := range []struct {
		err        error
		says, hint string
	}{
		{unix.EACCES, "--listen 127.0.0.1:80: permission denied", "setcap"},
		{unix.EADDRINUSE, "in use", "sport = :80"},
		{unix.EADDRNOTAVAIL, "does not have", "ip address"},
		{&net.DNSError{Name: "x", IsNotFound: true}, "lookup x", "does not know"},
		{errors.New("strange"), "--listen 127.0.0.1:80: listen: strange", "HOST:PORT"},
	} {
		err := explainListen("listen", "127.0.0.1:80", &net.OpError{Op: "listen", Err: tt.err}, "want HOST:PORT")
		if !strings.Contains(err.Error(), tt.says) || !strings.Contains(hintOf(err), tt.hint) {
			t.Errorf("%v: got %q and %q", tt.err, err, hintOf(err))
		}
	}
	err := fileError("--auth", "key.pem", &fs.PathError{Op: "open", Path: "key.pem", Err: unix.EACCES})
	if err.Error() != "--auth key.pem: permission denied" ||
		!strings.Contains(hintOf(err), fmt.Sprint("ID ", os.Getuid())) {
		t.Errorf("got %q and %q", err, hintOf(err))
	}
	// An error from another process is text.
	refused := errors.New("with 0 of 2 connections: connection 1: connection refused")
	if got := hintOf((peer{is: "--listen"}).explain(refused)); !strings.Contains(got, "nothing listens") {
		t.Errorf("refused, as text: got the hint %q", got)
	}
	for err, hint := range map[error]string{unix.EMFILE: "ulimit -n", unix.ENOMEM: "crier doctor", unix.ENOSPC: "space"} {
		if got := hintOf(fmt.Errorf("x: %w", os.NewSyscallError("y", err))); !strings.Contains(got, hint) {
			t.Errorf("%v: got the hint %q", err, got)
		}
	}
}

// TestRetries checks that pub reports retries, and that sub prints a hint once.
func TestRetries(t *testing.T) {
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 4 {
			http.Error(w, "behind", http.StatusServiceUnavailable)
			return
		}
		if r.Method != http.MethodPost {
			http.Error(w, "no", http.StatusNotFound)
		}
	}))
	defer srv.Close()
	if code := run([]string{"pub", "--admin-url", srv.URL, "c", lines}, io.Discard, &log); code != 0 ||
		strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(),
		"503 Service Unavailable: behind; retrying for 30s") {
		t.Errorf("pub: got %d, %q", code, log.String())
	}
	log.Reset()
	asked = 1
	if code := run([]string{"sub", "--server", "ws" + strings.TrimPrefix(srv.URL, "http") + "/"}, io.Discard,
		&log); code != 1 || strings.Count(log.String(), "hint: the server is full") != 1 ||
		strings.Count(log.String(), "reconnecting in") != 2 {
		t.Errorf("sub: got %d, %q", code, log.String())
	}
	http.DefaultClient.CloseIdleConnections()
}
