package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrongSettings: a wrong setting exits with 2, wherever it stands, and a port in use with 1.
func TestWrongSettings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	listen := "--listen=" + taken.Addr().String() // So that no mistake serves.
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("two words"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, value, with string }{
		{"origin", "example.com", ""}, {"origin", "https://*", ""}, {"path", "/a?b", ""}, {"trusted-proxies", "proxy", ""},
		{"listen", "18000", ""}, {"listen", "127.0.0.1:99999", ""}, {"listen", "::1:18000", ""},
		{"admin", "18001", ""}, {"admin", "0.0.0.0:18001", ""}, {"pprof", "0.0.0.0:6060", ""}, {"pprof", "6060", ""},
		{"memory", "1MiB", ""}, {"memory", "60MiB", "--admin=127.0.0.1:0"}, {"retain-total", "1MiB", "--channels"},
		{"auth", "/nonexistent", ""}, {"auth", "/", ""}, {"auth", garbage, ""}, {"admin-token-file", "/nonexistent", "--admin=127.0.0.1:0"},
		{"admin-token-file", garbage, "--admin=127.0.0.1:0"}, {"otlp-endpoint", "collector:4318", "--admin=127.0.0.1:0"},
		{"log-level", "loud", ""}, {"log-format", "xml", ""}, {"slow", "maybe", ""}, {"publish", "some", ""}, {"over-rate", "x", "--rate=1"},
		{"rate", "many", ""}, {"rate", "NaN", ""}, {"channels", "perhaps", ""}, {"max-conns", "-1", ""}, {"drain", "600h", ""},
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
