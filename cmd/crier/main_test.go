package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/logtest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func TestCommandLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := free.Addr().String()
	withNATS := "--listen 127.0.0.1:0 --cluster nats://" + gone + " "
	free.Close()
	tests := []struct {
		name string
		args string
		env  string // NAME=value
		code int
		says []string // Parts of the output.
	}{
		{"version", "version", "", 0, []string{"crier "}},
		{"version for programs", "version --json", "", 0, []string{`{"version":"`, `"go":"go1.`, `"os":"linux"`}},
		{"completion", "completion bash", "", 0, []string{"complete -o filenames -F _crier crier", "--max-message"}},
		{"completion for no shell", "completion csh", "", 2, []string{`"bash","zsh","fish"`, `"csh"`}},
		{"nobody to probe", "probe --admin " + taken.Addr().String() + " --timeout 10ms", "", 1,
			[]string{"--admin " + taken.Addr().String(), "deadline"}},
		{"help", "--help", "", 0, []string{"--listen", "CRIER_LISTEN", "\n  version", "\n  token"}},
		{"help of serve", "serve --help", "", 0, []string{"--listen", "$CRIER_LISTEN", "connection established", "1MiB",
			"\nCluster:\n"}},
		{"spans to no URL", "--admin 127.0.0.1:0 --otlp-endpoint 127.0.0.1:4318", "", 2,
			[]string{"--otlp-endpoint", `"127.0.0.1:4318"`, "http://127.0.0.1:4318"}},
		{"spans to another protocol", "--admin 127.0.0.1:0 --otlp-endpoint grpc://collector:4317", "", 2,
			[]string{"--otlp-endpoint", "http://"}},
		{"spans with a secret", "--admin 127.0.0.1:0 --otlp-endpoint http://:@collector:4318", "", 2,
			[]string{"--otlp-endpoint", "OTEL_EXPORTER_OTLP_HEADERS"}},
		{"spans of nothing", "--otlp-endpoint http://127.0.0.1:4318", "", 2, []string{"--otlp-endpoint", "--admin as well"}},
		{"unknown flag", "--lisen :1", "", 2, []string{"--lisen"}},
		{"unknown command", "server", "", 2, []string{"server"}},
		{"size", "--max-message 5x", "", 2, []string{"--max-message", `"5x"`, "KiB"}},
		{"size too large", "serve --max-message 2GiB", "", 2, []string{"--max-message", "2147483648", "1GiB"}},
		{"size of 0", "--max-message 0", "", 2, []string{"--max-message", "is 0"}},
		{"negative size", "--max-message=-1", "", 2, []string{"--max-message is -1, want 0 or more"}},
		{"retention", "--retain 5", "", 2, []string{"--retain", "is 5", "64KiB"}},
		{"duration without unit", "--drain 5", "", 2, []string{"--drain", `"5"`, "30s"}},
		{"negative duration", "--ping-interval=-1s", "", 2, []string{"--ping-interval is -1s, want 0 or more"}},
		{"duration too long", "--ping-timeout 1000h", "", 2, []string{"--ping-timeout", "336h"}},
		{"no time for a handshake", "--handshake-timeout 0", "", 2, []string{"--handshake-timeout", "more than 0"}},
		{"policy", "--slow maybe", "", 2, []string{"--slow", `"close","skip"`, `"maybe"`}},
		{"level", "--log-level loud", "", 2, []string{"--log-level", `"loud"`}},
		{"path", "--path ws", "", 2, []string{"--path", `"ws"`, "starts with /"}},
		{"count", "--max-conns many", "", 2, []string{"--max-conns", `"many"`}},
		{"from the environment", "", "CRIER_RETAIN=tiny", 2, []string{"--retain", "CRIER_RETAIN", `"tiny"`}},
		{"flag wins over the environment", "--retain 5", "CRIER_RETAIN=1MiB", 2, []string{"--retain", "is 5"}},
		{"origin", "--listen 127.0.0.1:0 --origin example.com", "", 2,
			[]string{"--origin", `"example.com"`, "https://example.com"}},
		{"too little memory", "--listen 127.0.0.1:0 --memory 1MiB", "", 2, []string{"--memory is 1048576", "at least"}},
		{"total without channels", "--retain-total 1MiB", "", 2, []string{"--retain-total", "--channels"}},
		{"total less than one", "--channels --retain 2MiB --retain-total 1MiB", "", 2,
			[]string{"--retain-total", "at least --retain"}},
		{"total less than the default of one", "--listen 127.0.0.1:0 --channels --retain-total 1MiB", "", 2,
			[]string{"--retain-total is 1048576", "at least --retain, which is 8388608"}},
		{"age", "--retain-age 10ms", "", 2, []string{"--retain-age", "at least 1s"}},
		{"keys in a file without a name", "--auth=", "", 2, []string{"--auth is empty"}},
		{"no key file", "--listen 127.0.0.1:0 --auth /nonexistent", "", 2, []string{"--auth /nonexistent", "no such file"}},
		{"key file that is none", "--listen 127.0.0.1:0 --auth /dev/null", "", 2,
			[]string{"--auth /dev/null", "regular file"}},
		{"audience without keys", "--auth-audience x", "", 2, []string{"--auth-audience", "--auth as well"}},
		{"admin without a port", "--admin localhost", "", 2, []string{"--admin", "HOST:PORT"}},
		{"admin for everybody", "--admin :18001", "", 2, []string{"--admin", "loopback", "--admin-token-file"}},
		{"token for nothing", "--admin-token-file x", "", 2, []string{"--admin-token-file", "--admin as well"}},
		{"no token", "--listen 127.0.0.1:0 --admin 127.0.0.1:0 --admin-token-file /nonexistent", "", 2,
			[]string{"--admin-token-file", "no such file"}},
		{"token too short", "--listen 127.0.0.1:0 --admin 127.0.0.1:0 --admin-token-file /dev/null", "", 2,
			[]string{"--admin-token-file /dev/null", "at least 16"}},
		{"admin's port in use", "--listen 127.0.0.1:0 --admin " + taken.Addr().String(), "", 1,
			[]string{"--admin " + taken.Addr().String(), "in use"}},
		{"admin and little memory", "--listen 127.0.0.1:0 --admin 127.0.0.1:0 --memory 60MiB", "", 2,
			[]string{"--memory is 62914560", "--admin alone"}},
		{"cluster of no URL", "--cluster 127.0.0.1:4222", "", 2, []string{"--cluster ", "nats://HOST:4222"}},
		{"cluster with a slash in a secret", "--cluster nats://s3cr/et@127.0.0.1:4222", "", 2,
			[]string{"--cluster is a URL with a path,", "%2F"}},
		{"cluster with a secret", "--cluster nats://u:s3cr%zzet@127.0.0.1:4222", "", 2, []string{"--cluster is not a URL,"}},
		{"cluster of nobody", "--cluster=", "", 2, []string{"--cluster is empty, want"}},
		{"cluster in a variable that is not set", "", "CRIER_CLUSTER=", 2,
			[]string{"--cluster is empty, want", "(from CRIER_CLUSTER)"}},
		{"no credentials", withNATS + "--cluster-credentials /nonexistent", "", 2,
			[]string{"--cluster-credentials /nonexistent: no such file", "ls -l /"}},
		{"credentials that are none", withNATS + "--cluster-credentials /etc/passwd", "", 2,
			[]string{"--cluster-credentials /etc/passwd: ", "no nkey seed", "JWT and seed"}},
		{"no seed", withNATS + "--cluster-nkey /nonexistent", "", 2, []string{"--cluster-nkey /nonexistent: no such file"}},
		{"seed that is none", withNATS + "--cluster-nkey /etc/passwd", "", 2,
			[]string{"--cluster-nkey /etc/passwd: ", "no nkey seed", "begins with SU"}},
		{"authority that is none", withNATS + "--cluster-ca /etc/passwd", "", 2,
			[]string{"--cluster-ca /etc/passwd: ", "in PEM"}},
		{"certificate that is none", withNATS + "--cluster-cert /etc/passwd --cluster-key /etc/passwd", "", 2,
			[]string{"--cluster-cert /etc/passwd: ", "in PEM"}},
		{"no key", withNATS + "--cluster-cert /etc/passwd --cluster-key /nonexistent", "", 2,
			[]string{"--cluster-key /nonexistent: no such file"}},
		{"cluster of which nothing is said", "", "CRIER_CLUSTER_REPLICAS=3", 2,
			[]string{"--cluster-replicas is given, want --cluster as well"}},
		{"mode of no cluster", "--cluster-mode fast", "", 2, []string{"--cluster-mode is given, want --cluster as well"}},
		{"credentials for no cluster", "--cluster-credentials x", "", 2,
			[]string{"--cluster-credentials is given, want --cluster as well"}},
		{"mode", "--cluster-mode quick", "", 2, []string{"--cluster-mode", `"quick"`}},
		{"stream of the other mode", "--cluster nats://a --cluster-mode fast --cluster-replicas 3", "", 2,
			[]string{"--cluster-replicas is 3", "--cluster-mode ordered"}},
		{"stream with a control character", "--cluster nats://a --cluster-stream a\x01b", "", 2,
			[]string{"--cluster-stream", `"a\x01b"`, "control"}},
		{"stream with a long name", "--cluster nats://a --cluster-mode fast --cluster-stream " + strings.Repeat("a", 256), "",
			2, []string{"--cluster-stream", "255"}},
		{"linger without channels", "--cluster nats://a --cluster-linger 1s", "", 2,
			[]string{"--cluster-linger is given, want --channels as well"}},
		{"two proofs", "--cluster nats://a --cluster-nkey x --cluster-credentials y", "", 2,
			[]string{`--cluster-nkey is "x"`, "no --cluster-credentials"}},
		{"key without a certificate", "--cluster nats://a --cluster-key x", "", 2,
			[]string{"--cluster-cert", "--cluster-key as well"}},
		{"port in use", "--listen " + taken.Addr().String(), "", 1, []string{"--listen " + taken.Addr().String(), "in use"}},
		{"no address", "serve --listen nowhere", "", 2, []string{`--listen is "nowhere"`, "HOST:PORT"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if name, value, ok := strings.Cut(tt.env, "="); ok {
				t.Setenv(name, value)
			}
			var out bytes.Buffer
			if got := run(strings.Fields(tt.args), &out, &out); got != tt.code {
				t.Errorf("exit code: got %d, want %d", got, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got %q, want it to say %q", out.String(), want)
				}
			}
			for _, part := range []string{"s3cr", "/et@"} {
				if strings.Contains(out.String(), part) {
					t.Errorf("got %q, which has a part of a secret", out.String())
				}
			}
			if tt.code != 0 && !isComplaint.MatchString(out.String()) {
				t.Errorf("got %q, want what is wrong and a hint, a line each", out.String())
			}
		})
	}
}

// TestMain removes the built program at the end. Parallel tests of this package mostly wait for processes.
func TestMain(m *testing.M) {
	criertest.AllowParallel(8)
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

var builtIn string // The directory of the built program, set by built.

// built builds the program once for all tests, without the race detector: tests here start some 400 processes, and the
// race detector makes a start three times as long. test/scale and test/cluster have it.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "crier")
	if err != nil {
		return "", err
	}
	builtIn = dir
	return criertest.Build(dir)
})

// build returns the path of the built program.
func build(t *testing.T) string {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// TestServes checks each way to start the server, and SIGTERM.
func TestServes(t *testing.T) {
	bin := build(t)
	for _, args := range [][]string{
		{"--listen", "127.0.0.1:0"},
		{"serve", "--listen=127.0.0.1:0", "--log-format=json"},
		{}, // Only CRIER_LISTEN.
		{"serve"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			cmd := exec.Command(bin, args...)
			cmd.Env = append(os.Environ(), "CRIER_LISTEN=127.0.0.1:0")
			logs, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
			r := bufio.NewReader(logs)
			addr := startLine(t, r)
			resp, err := http.Get("http://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUpgradeRequired {
				t.Errorf("plain request: got %d, want 426", resp.StatusCode)
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_, _ = r.WriteTo(new(bytes.Buffer))
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: got %v, want exit 0", err)
			}
		})
	}
}

// startLine reads the first line of the log, and returns its address.
func startLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("reading the log: %v", err)
	}
	for _, want := range []string{"serving", "connections", "fd_limit"} {
		if !strings.Contains(line, want) {
			t.Errorf("start line %q does not say %q", line, want)
		}
	}
	_, rest, ok := strings.Cut(line, "127.0.0.1:")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if !ok || end < 0 {
		t.Fatalf("start line %q names no address", line)
	}
	return "127.0.0.1:" + rest[:end]
}

// TestSlowPass checks that a pass that takes longer than --slow-pass is logged.
func TestSlowPass(t *testing.T) {
	for flag, want := range map[string]bool{"--slow-pass=1us": true, "--slow-pass=0": false, "--slow-pass=1m": false} {
		var log logtest.Buffer
		_, addrs, stop := startLogged(t, &log, "--listen=127.0.0.1:0", flag)
		conn, br, _, err := ws.Dial(t.Context(), "ws://"+addrs["addr"])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if br == nil {
			br = bufio.NewReader(conn)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"connection established", "hello"} {
			if p, err := wsutil.ReadServerText(struct {
				io.Reader
				io.Writer
			}{br, conn}); err != nil || string(p) != text {
				t.Fatalf("got %q, %v, want %q", p, err, text)
			}
		}
		const line = `msg="slow pass" shard=`
		if want {
			log.Await(t, line)
		}
		conn.Close() // Otherwise crier waits for an answer to its close frame.
		if err := stop(); err != nil {
			t.Errorf("%s: crier ended with %v", flag, err)
		}
		if got := log.Has(line); got != want {
			t.Errorf("%s: is there a line: got %t, want %t", flag, got, want)
		}
	}
}
