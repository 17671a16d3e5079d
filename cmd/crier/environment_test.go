package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// TestNearVariables checks that a variable whose name is nearly that of a flag is an error, and that the hint has the
// right name.
func TestNearVariables(t *testing.T) {
	for name, want := range map[string]string{
		"CRIER_AUHT": "CRIER_AUTH", "CRIER_AUTHH": "CRIER_AUTH", "CRIER_ORIGINS": "CRIER_ORIGIN",
		"CRIER_ORIGN":     "CRIER_ORIGIN",
		"CRIER_AUTH_FILE": "CRIER_AUTH", "CRIER_AUTH_AUDIENCES": "CRIER_AUTH_AUDIENCE",
		"CRIER_AUTH_ISSUER_URL": "CRIER_AUTH_ISSUER",
		"CRIER_MAX_CONN_PER_IP": "CRIER_MAX_CONNS_PER_IP", "CRIER_TRUSTED_PROXY": "CRIER_TRUSTED_PROXIES",
		"CRIER_CONFIG_FILE": "CRIER_CONFIG",
		"crier_auth":        "CRIER_AUTH", "Crier_Origin": "CRIER_ORIGIN", "CRIERAUTH": "CRIER_AUTH",
		"CRIER.AUTH": "CRIER_AUTH",
		"CIRER_AUTH": "CRIER_AUTH", "CRIE_AUTH": "CRIER_AUTH", "CRIER_SERVE_AUTH": "CRIER_AUTH", "CRIER__AUTH": "CRIER_AUTH",
		"CRIER_MAX-MESSAGE": "CRIER_MAX_MESSAGE", "CRIER_ADMIN_PASSWORD": "CRIER_ADMIN", "CRIER_LISTEN_PORT": "CRIER_LISTEN",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			for _, command := range []string{"serve", "config"} {
				if got := complaint(t, 2, command, "--listen=127.0.0.1:0", "--path=x"); !strings.Contains(got,
					name+" in the environment") ||
					!strings.Contains(got, "did you mean "+want+"?") {
					t.Errorf("%s: got %q, want the hint %s", command, got, want)
				}
			}
			if code := run([]string{"version"}, io.Discard, io.Discard); code != 0 {
				t.Errorf("version: got code %d, want 0", code)
			}
		})
	}
}

// TestOtherVariables checks that the log names variables that set no flag, except those of other commands and of
// services in Kubernetes.
func TestOtherVariables(t *testing.T) {
	for name, value := range map[string]string{
		"CRIER_PORT": "tcp://10.96.0.7:18000", "CRIER_SERVICE_HOST": "10.96.0.7", "CRIER_SERVICE_PORT": "18000",
		"CRIER_SERVICE_PORT_WS": "18000",
		"CRIER_PORT_18000_TCP":  "tcp://10.96.0.7:18000", "CRIER_PORT_18000_TCP_PROTO": "tcp",
		"CRIER_PORT_18000_TCP_PORT": "18000",
		"CRIER_PORT_18000_TCP_ADDR": "10.96.0.7", "CRIER_ADMIN_PORT": "tcp://10.96.0.8:18001",
		"CRIER_ADMIN_SERVICE_HOST": "10.96.0.8",
		"CARRIER_PATH":             "/bin", "CRIERS_HOME": "/", "CRIED_NAME": "x", "Crier": "x", "CRIER": "x",
		"CRI_ORIGIN":       "x",
		"CRIER_TOKEN_FILE": "/run/token", "CRIER_SERVER": "ws://127.0.0.1:1", "CRIER_VERSION": "1",
		"CRIER_NAME": "/web/crier",
	} {
		t.Setenv(name, value)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for command, want := range map[string]int{"serve": 1, "config": 0} { // crier serve fails later.
		var log bytes.Buffer
		code := run([]string{command, "--listen=" + taken.Addr().String()}, io.Discard, &log)
		if code != want || !strings.Contains(log.String(),
			`msg="these variables do not set any flag and are ignored" variables="CRIER_NAME CRIER_VERSION"`) {
			t.Errorf("%s: got code %d, want %d, and %s", command, code, want, log.String())
		}
	}
}

// TestEmptySettings checks that an empty value is an error unless it has a meaning. As a default it could open the
// server to all.
func TestEmptySettings(t *testing.T) {
	for _, name := range []string{"auth", "auth-audience", "auth-issuer", "origin", "trusted-proxies", "admin-token-file",
		"path", "listen",
		"cluster", "cluster-credentials", "cluster-nkey", "cluster-ca", "cluster-cert", "cluster-key", "cluster-stream"} {
		variable := "CRIER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		t.Run(name, func(t *testing.T) {
			want := "--" + name + " is "
			if got := complaint(t, 2, "config", "--"+name+"="); !strings.Contains(got, want) {
				t.Errorf("flag: got %q", got)
			}
			if got := complaint(t, 2, "config", "--config="+writeConfig(t, name+" = \"\"\n")); !strings.Contains(got, want) ||
				!strings.Contains(got, "/crier.toml") {
				t.Errorf("file: got %q", got)
			}
			t.Setenv(variable, "")
			if got := complaint(t, 2, "config"); !strings.Contains(got, want) || !strings.Contains(got, variable) {
				t.Errorf("environment: got %q", got)
			}
		})
	}
	if got := complaint(t, 2, "config", "--config="); !strings.Contains(got, "--config is empty") {
		t.Errorf("--config: got %q", got)
	}
	t.Setenv("CRIER_AUTH_ISSUER", " \t")
	if got := complaint(t, 2, "config", "--auth=x"); !strings.Contains(got, "--auth-issuer is empty") {
		t.Errorf("spaces alone: got %q", got)
	}
	os.Unsetenv("CRIER_AUTH_ISSUER")
	var out, log bytes.Buffer
	if code := run([]string{"config", "--admin=", "--greeting=", "--pprof=", "--otlp-endpoint="}, &out, &log); code != 0 {
		t.Errorf("flags that may be empty: got code %d, %s", code, log.String())
	}
}

// TestNegativeNumbers checks that a negative number is the value of the flag before it, and too low.
func TestNegativeNumbers(t *testing.T) {
	for _, name := range []string{"max-message", "retain", "retain-total", "retain-age", "ping-interval", "ping-timeout",
		"handshake-timeout",
		"drain", "burst", "rate-bytes", "burst-bytes", "max-conns", "max-conns-per-ip", "memory", "auth-leeway", "slow-pass",
		"compress-min",
		"cluster-replicas", "cluster-max-bytes", "cluster-max-age", "cluster-timeout", "cluster-linger", "cluster-hold"} {
		for _, args := range [][]string{{"--" + name, "-1"}, {"--" + name + "=-1"},
			{"--config=" + writeConfig(t, name+" = -1\n")}} {
			got := complaint(t, 2, append([]string{"config"}, args...)...)
			isSpan := strings.Contains(got, "want a duration") // The number has no unit.
			if !isSpan && !strings.Contains(got, "--"+name+" is -1, want 0 or more") {
				t.Errorf("%q: got %q", args, got)
			}
			if !isSpan {
				continue
			}
			if got := complaint(t, 2, "config", "--"+name, "-1s"); !strings.Contains(got, "--"+name+" is -1s, want 0 or more") {
				t.Errorf("%s: got %q", name, got)
			}
		}
	}
	for args, want := range map[string]string{
		"config --rate -0.5": "--rate is -0.5, want 0 or more", "load --conns -5": "--conns is -5, want at least 1",
		"sub --last -1": "--last is -1, want 0 or more", "probe --timeout -1s": "--timeout is -1s, want 0 or more",
		"doctor --conns -1": "--conns is -1, want 0 or more",
	} {
		if got := complaint(t, 2, strings.Fields(args)...); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %s", args, got, want)
		}
	}
}

// TestBounds checks that the error for a value that is too high has the limit.
func TestBounds(t *testing.T) {
	for args, want := range map[string]string{
		"--drain 600h": "--drain is 600h, want at most 336h", "--ping-interval 337h": "want at most 336h",
		"--max-message 2GiB": "1 to 1GiB", "--memory 9999999GiB": "--memory is 9999999GiB, want at most 1048576GiB",
		"--max-conns 3000000000":      "--max-conns is 3000000000, want at most 2147483647",
		"--auth x --auth-leeway 1h":   "--auth-leeway is 1h0m0s, want at most 10m",
		"--rate 1e10":                 "--rate is 1e10, want at most 2^30",
		"--rate 1 --burst 2147483647": "--burst is 2147483647, want 1 to 2^30",
		"--rate-bytes 1048576GiB":     "--rate-bytes is 1.125899906842624e+15, want 0 to 2^40",
		"--listen :65536":             "a port from 0 to 65535",
		"--admin 127.0.0.1:99999":     "a port from 0 to 65535", "--retain 1": "at least 64KiB",
	} {
		if got := complaint(t, 2, strings.Fields("config "+args)...); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %s", args, got, want)
		}
	}
}

// TestNoEffect checks that the error for a flag without effect names the flag that it needs.
func TestNoEffect(t *testing.T) {
	for args, want := range map[string]string{
		"--burst 5": "--rate as well", "--burst-bytes 2MiB": "--rate-bytes as well",
		"--over-rate close":       "--rate or --rate-bytes as well",
		"--rate 5 --publish none": "--publish is none", "--compress-min 1KiB": "--compress as well",
		"--ping-interval 0 --ping-timeout 5s": "--ping-interval", "--path /a/../b": `--path is "/a/../b", want no segment ..`,
		"--path /ws?x":                         `--path is "/ws?x", want a path without a query`,
		"--origin https://a.*.b":               `--origin has "https://a.*.b", want "*."`,
		"--origin https://a.test,wss://b.test": `--origin has "wss://b.test", want the origin of the page`,
		"--trusted-proxies ::ffff:0:0/90":      "at least /96", "--listen 18000": "want HOST:PORT",
		"--listen ::1:18000": "brackets",
		"--listen x/y:1":     "want HOST:PORT", "--admin 18001": "want HOST:PORT",
	} {
		if got := complaint(t, 2, strings.Fields("config "+args)...); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %s", args, got, want)
		}
	}
}
