package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWrongSettings checks that the exit code is 2 for a wrong setting from any source, and 1 for a port in use.
func TestWrongSettings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	listen := "--listen=" + taken.Addr().String() // The port is in use, so no case starts to serve.
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("two words"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo") // It has no writer.
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	const cluster = "--cluster=nats://127.0.0.1:1"
	for _, tt := range []struct{ name, value, with string }{
		{"origin", "example.com", ""}, {"origin", "https://*", ""}, {"path", "/a?b", ""}, {"trusted-proxies", "proxy", ""},
		{"listen", "18000", ""}, {"listen", "127.0.0.1:99999", ""}, {"listen", "::1:18000", ""},
		{"admin", "18001", ""}, {"admin", "0.0.0.0:18001", ""}, {"pprof", "0.0.0.0:6060", ""}, {"pprof", "6060", ""},
		{"memory", "1MiB", ""}, {"memory", "60MiB", "--admin=127.0.0.1:0"}, {"retain-total", "1MiB", "--channels"},
		{"auth", "/nonexistent", ""}, {"auth", "/", ""}, {"auth", garbage, ""},
		{"admin-token-file", "/nonexistent", "--admin=127.0.0.1:0"},
		{"admin-token-file", garbage, "--admin=127.0.0.1:0"}, {"otlp-endpoint", "collector:4318", "--admin=127.0.0.1:0"},
		{"log-level", "loud", ""}, {"log-format", "xml", ""}, {"slow", "maybe", ""}, {"publish", "some", ""},
		{"over-rate", "x", "--rate=1"},
		{"rate", "many", ""}, {"rate", "NaN", ""}, {"channels", "perhaps", ""}, {"max-conns", "-1", ""},
		{"drain", "600h", ""},
		{"listen", "127.0.0.1:+1", ""}, {"listen", "127.0.0.1: 80", ""}, {"listen", "224.0.0.1:18000", ""},
		{"listen", "[ff02::1]:18000", ""},
		{"listen", "255.255.255.255:18000", ""}, {"listen", "http://127.0.0.1:18000", ""}, {"path", "/ws ", ""},
		{"path", " /ws", ""},
		{"compress-min", "2MiB", "--compress"}, {"rate", "10/s", ""}, {"rate", "-1", ""}, {"rate", "1e400", ""},
		{"rate", "Inf", ""},
		{"auth", fifo, ""}, {"admin-token-file", fifo, "--admin=127.0.0.1:0"},
		{"admin-token-file", "/dev/zero", "--admin=127.0.0.1:0"},
		{"otlp-endpoint", "http://127.0.0.1:99999", "--admin=127.0.0.1:0"},
		{"otlp-endpoint", "http://:4318", "--admin=127.0.0.1:0"},
		{"otlp-endpoint", "http://127.0.0.1:4318/v1/traces?", "--admin=127.0.0.1:0"},
		{"cluster", "nats://127.0.0.1:99999", ""}, {"cluster", "nats://127.0.0.1:0", ""}, {"cluster", "nats://:4222", ""},
		{"cluster", "nats://127.0.0.1:4222/crier", ""}, {"cluster", "nats://127.0.0.1:4222?tls=1", ""},
		{"cluster-replicas", "6", cluster}, {"cluster-max-age", "1ns", cluster}, {"cluster-timeout", "1ns", cluster},
		{"cluster-credentials", fifo, cluster}, {"cluster-nkey", fifo, cluster}, {"cluster-ca", fifo, cluster},
		{"cluster-ca", "/", cluster},
		{"cluster-ca", garbage, cluster}, {"cluster-credentials", garbage, cluster}, {"cluster-nkey", garbage, cluster},
		{"cluster", "127.0.0.1:4222", ""}, {"cluster-mode", "quick", "--cluster=nats://127.0.0.1:1"},
	} {
		args := []string{"serve", listen}
		if tt.with != "" {
			args = append(args, tt.with)
		}
		if tt.name == "listen" {
			args = args[:1]
		}
		says := func(got, from string) {
			t.Helper()
			if !strings.Contains(got, "--"+tt.name) {
				t.Errorf("--%s %s (%s): got %q", tt.name, tt.value, from, got)
			}
		}
		says(complaint(t, 2, append(args, "--"+tt.name+"="+tt.value)...), "flag")
		file := writeConfig(t, tt.name+" = \""+tt.value+"\"\n")
		says(complaint(t, 2, append(args, "--config="+file)...), "file")
		variable := "CRIER_" + strings.ToUpper(strings.ReplaceAll(tt.name, "-", "_"))
		t.Setenv(variable, tt.value)
		says(complaint(t, 2, args...), "environment")
		os.Unsetenv(variable)
	}
	if got := complaint(t, 1, "serve", listen); !strings.Contains(got, "in use by another process") {
		t.Errorf("a port in use: got %q", got)
	}
}
