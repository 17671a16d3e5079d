package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/crier-ws/crier/internal/logtest"
)

// config runs crier config and returns what it prints, and its exit code.
func config(t *testing.T, args ...string) (out, log string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"config"}, args...), &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "crier.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestConfig: the command line counts more than the environment, and that more than the file.
func TestConfig(t *testing.T) {
	file := writeConfig(t, "# a comment\nmax-message = \"2MiB\"\norigin = [\"https://a.test\", \"https://b.test\"]\n"+
		"channels = true\nrate = 1.5\nretain-age = \"10m\"\ntrusted-proxies = [\"10.0.0.0/8\"]\nauth = \"key.pem\"\n")
	t.Setenv("CRIER_RATE", "7")
	t.Setenv("CRIER_DRAIN", "1s")
	out, log, code := config(t, "--config", file, "--channels=false", "--max-conns-per-ip", "5")
	if code != 0 || log != "" {
		t.Fatalf("got code %d, %s", code, log)
	}
	for _, want := range []string{
		`listen = ":18000" +# default`, `max-message = "2MiB" +# file`, `origin = \["https://a.test", "https://b.test"\] +# file`,
		`channels = false +# command line`, `rate = 7 +# environment, CRIER_RATE`, `drain = "1s" +# environment, CRIER_DRAIN`,
		`retain-age = "10m0s" +# file`, `trusted-proxies = \["10.0.0.0/8"\] +# file`, `max-conns-per-ip = 5 +# command line`,
		`auth = "key.pem" +# file`, `#retain = "" +# default`,
	} {
		if !regexp.MustCompile("(?m)^" + want + "$").MatchString(out) {
			t.Errorf("there is no line %s in:\n%s", want, out)
		}
	}
	// What it prints is a file that says the same.
	again, log, code := config(t, "--config", writeConfig(t, out))
	values := func(s string) string { return regexp.MustCompile(` +# .*`).ReplaceAllString(s, "") }
	if code != 0 || values(again) != values(out) {
		t.Errorf("got code %d, %s and\n%s\nwant\n%s", code, log, again, out)
	}
	// And so is the template, with and without its comments.
	os.Unsetenv("CRIER_RATE")
	os.Unsetenv("CRIER_DRAIN")
	template, _, _ := config(t, "--template")
	all := regexp.MustCompile(`(?m)^#([a-z-]+ = )`).ReplaceAllString(template, "$1")
	all = regexp.MustCompile(`(?m)^(retain|ping-timeout|auth|cluster-hold|cluster-linger) = ""\n`).ReplaceAllString(all, "") // Without a default.
	defaults, _, _ := config(t)
	for _, text := range []string{template, all} {
		if got, log, code := config(t, "--config", writeConfig(t, text)); code != 0 || values(got) != values(defaults) {
			t.Errorf("the template: got code %d, %s and\n%s", code, log, got)
		}
	}
}

func TestConfigWrong(t *testing.T) {
	for text, want := range map[string]string{
		"max-mesage = 5":           "there is no max-mesage\nhint: did you mean max-message? crier config --template",
		"Listen = \":1\"":          "did you mean listen?",
		"config = \"x\"":           "there is no config",
		"[serve]\nlisten = \":1\"": "[serve]: there are no tables",
		"listen = = 1":             "line 1, column 10",
		"max-message = \"5x\"":     `--max-message is "5x"`,
		"slow = \"maybe\"":         "--slow",
		"channels = \"perhaps\"":   "channels",
	} {
		if _, log, code := config(t, "--config", writeConfig(t, text)); code != 2 || !strings.Contains(log, want) || !strings.Contains(log, "/crier.toml") || !isComplaint.MatchString(log) {
			t.Errorf("%s: got code %d, %s, want %s", text, code, log, want)
		}
	}
	if _, log, code := config(t, "--config", "/nonexistent/crier.toml"); code != 2 || !strings.Contains(log, "/nonexistent/crier.toml") {
		t.Errorf("no file: got code %d, %s", code, log)
	}
}

// TestReload: SIGHUP brings into effect what can be, and says what cannot.
func TestReload(t *testing.T) {
	file := writeConfig(t, "log-level = \"info\"\n")
	write := func(format string, args ...any) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log logtest.Buffer
	crier, addrs, stop := startLogged(t, &log, "--config="+file, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--drain=0")
	hangUp := func() {
		t.Helper()
		if err := crier.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write("log-level = \"loud\"\n")
	hangUp()
	log.Await(t, "level=ERROR msg=\"nothing is reloaded\" err=\"--log-level must be one of")
	log.Await(t, "(from --config "+file+")\" hint=\"crier serve --help says what it takes\"")
	write("log-level = \"debug\"\nmax-message = \"2MiB\"\nchannels = true\n")
	hangUp()
	log.Await(t, `msg="this takes a restart" flags="channels max-message"`)
	log.Await(t, "msg=reloaded")
	write("log-level = \"debug\"\nauth = \"/nonexistent\"\n")
	hangUp()
	log.Await(t, `msg="this takes a restart" flags=auth`)
	// It is at debug level now: that says each connection.
	if _, _, code := command(t, build(t), "", "sub", "--server=ws://"+addrs["addr"], "--count=1", "--once", "--silence=1s"); code != 1 {
		t.Errorf("sub: got code %d", code)
	}
	log.Await(t, "level=DEBUG msg=connected")
	if err := stop(); err != nil {
		t.Error(err)
	}
}
