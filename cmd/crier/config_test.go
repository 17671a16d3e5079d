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

// config runs crier config, and returns its output and exit code.
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

// TestConfig checks that the command line has precedence over the environment, and the environment over the file.
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
		`listen = ":18000" +# default`, `max-message = "2MiB" +# file`,
		`origin = \["https://a.test", "https://b.test"\] +# file`,
		`channels = false +# command line`, `rate = 7 +# environment, CRIER_RATE`, `drain = "1s" +# environment, CRIER_DRAIN`,
		`retain-age = "10m0s" +# file`, `trusted-proxies = \["10.0.0.0/8"\] +# file`, `max-conns-per-ip = 5 +# command line`,
		`auth = "key.pem" +# file`, `retain = "8MiB" +# default`, `# retain-total: without effect`, `burst = 7 +# default`,
		`ping-timeout = "1m0s" +# default`, `#max-conns = [1-9][0-9]+ +# default, the limit of open files`, `# path: not set`,
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
}

// uncomment returns a template with its settings uncommented.
func uncomment(template string) string {
	return regexp.MustCompile(`(?m)^# ?([a-z-]+ = )`).ReplaceAllString(template, "$1")
}

// TestTemplate checks that a server has the same settings without a file, with the template, and with the uncommented
// template.
func TestTemplate(t *testing.T) {
	template, _, _ := config(t, "--template")
	defaults, _, _ := config(t)
	values := regexp.MustCompile(` +# .*`)
	for name, text := range map[string]string{"template": template, "uncommented": uncomment(template)} {
		file := writeConfig(t, text)
		got, log, code := config(t, "--config", file)
		if code != 0 || values.ReplaceAllString(got, "") != values.ReplaceAllString(defaults, "") {
			t.Errorf("%s: got code %d, %s and\n%s\nwant\n%s", name, code, log, got, defaults)
		}
		_, stop := startCrier(t, "--config="+file, "--listen=127.0.0.1:0")
		if err := stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := strings.Count(uncomment(template), " = "); n < 30 {
		t.Errorf("there are %d settings only in\n%s", n, template)
	}
}

// TestConfigInEffect checks that defaults that depend on other flags are printed with their values, and that the
// output is a file with the same meaning.
func TestConfigInEffect(t *testing.T) {
	values := func(s string) string { return regexp.MustCompile(` +# .*`).ReplaceAllString(s, "") }
	for args, wants := range map[string][]string{
		"--channels": {`retain-total = "64MiB" `, `retain = "8MiB" `, "# burst: without effect",
			"# cluster-replicas: without effect"},
		"--max-message 16MiB --channels":      {`retain = "32MiB" `, `retain-total = "256MiB" `},
		"--retain 1MiB --channels":            {`retain-total = "8MiB" `},
		"--rate 2.5 --rate-bytes 2MiB":        {"burst = 2 ", `burst-bytes = "2MiB" `},
		"--ping-interval 1m":                  {`ping-timeout = "2m0s" `},
		"--ping-interval 0":                   {"# ping-timeout: without effect"},
		"--ping-timeout 0":                    {`ping-timeout = "0s" `},
		"--memory 64MiB":                      {`retain = "`, "#max-conns = ", "# default, --memory"},
		"--memory 200MiB --admin 127.0.0.1:0": {`retain = "`},
		"--cluster nats://a --channels": {"#cluster-replicas = 1 ", "unless the stream exists", `cluster-linger = "1m0s" `,
			`cluster-hold = "30s" `},
		"--cluster nats://a,nats://b --cluster-mode FAST": {`cluster-mode = "fast" `,
			"# cluster-replicas: without effect"},
		"--max-conns 2147483647": {"max-conns = 2147483647 ",
			"; the limit of open files allows "},
		"--trusted-proxies ::ffff:10.1.0.0/104 --max-conns 10": {`trusted-proxies = ["10.0.0.0/8"] `, "max-conns = 10 "},
		`--origin https://a.test,https://b.test --log-level DEBUG`: {`origin = ["https://a.test", "https://b.test"] `,
			`log-level = "debug" `},
	} {
		out, log, code := config(t, strings.Fields(args)...)
		for _, want := range wants {
			if code != 0 || !strings.Contains("\n"+out, "\n"+want) &&
				!(strings.HasPrefix(want, "#") || want[0] == ';' || want[0] == 'u') ||
				!strings.Contains(out, want) {
				t.Errorf("%s: got code %d, %s, and no %s in\n%s", args, code, log, want, out)
			}
		}
		again, log, code := config(t, "--config", writeConfig(t, out))
		if code != 0 || values(again) != values(out) {
			t.Errorf("%s: its output means something else: code %d, %s\n%s\nwant\n%s", args, code, log, again, out)
		}
	}
}

func TestConfigWrong(t *testing.T) {
	for text, want := range map[string]string{
		"max-mesage = 5":           "there is no max-mesage\nhint: did you mean max-message? crier config --template",
		"Listen = \":1\"":          "did you mean listen?",
		"config = \"x\"":           "there is no config\nhint: crier config --template",
		"template = true":          "there is no template\nhint: crier config --template",
		"max_message = 5":          "did you mean max-message?",
		"max-conns = {a = 1}":      "[max-conns] is a table",
		"origin = [[\"a\"]]":       "[origin] is a table",
		"[[serve]]\nrate = 1":      "[serve] is a table",
		"rate = nan":               "--rate is \"NaN\", want a number",
		"[serve]\nlisten = \":1\"": "[serve] is a table",
		"listen = = 1":             "line 1, column 10",
		"max-message = \"5x\"":     `--max-message is "5x"`,
		"slow = \"maybe\"":         "--slow",
		"channels = \"perhaps\"":   "channels",
	} {
		if _, log, code := config(t, "--config", writeConfig(t, text)); code != 2 || !strings.Contains(log, want) ||
			!strings.Contains(log, "/crier.toml") || !isComplaint.MatchString(log) {
			t.Errorf("%s: got code %d, %s, want %s", text, code, log, want)
		}
	}
	if _, log, code := config(t, "--config", "/nonexistent/crier.toml"); code != 2 ||
		!strings.Contains(log, "/nonexistent/crier.toml") {
		t.Errorf("no file: got code %d, %s", code, log)
	}
}

// TestConfigCharacters checks that the output of crier config starts again, whatever characters a setting has.
func TestConfigCharacters(t *testing.T) {
	const greeting = "\"a\\b\"\n\t\x01\a\v\x7f\u00e9<&>\u2028'\U0001f4e3"
	out, log, code := config(t, "--greeting="+greeting)
	if code != 0 {
		t.Fatal(log)
	}
	again, log, code := config(t, "--config="+writeConfig(t, "\ufeff"+out)) // As an editor on Windows saves it.
	if code != 0 || strings.ReplaceAll(again, "# file", "# command line") == again ||
		!strings.Contains(again, strings.TrimSuffix(settingOf(out, "greeting"), "# command line")+"# file") {
		t.Errorf("got code %d, %s\n%s\nwant the same greeting as in\n%s", code, log, again, out)
	}
}

// settingOf returns the line of a setting.
func settingOf(config, name string) string {
	for line := range strings.Lines(config) {
		if strings.HasPrefix(line, name+" = ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// TestReload checks that SIGHUP applies the flags that can be reloaded, and logs the changes of others.
func TestReload(t *testing.T) {
	file := writeConfig(t, "log-level = \"info\"\n")
	write := func(format string, args ...any) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log logtest.Buffer
	crier, addrs, stop := startLogged(t, &log, "--config="+file, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0",
		"--drain=0")
	hangUp := func() {
		t.Helper()
		if err := crier.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write("log-level = \"loud\"\n")
	hangUp()
	log.Await(t, "level=ERROR msg=\"nothing is reloaded\" err=\"--log-level must be one of")
	log.Await(t, "(from --config "+file+")\" hint=\"crier serve --help describes its flags and arguments\"")
	write("log-level = \"debug\"\nmax-message = \"2MiB\"\nchannels = true\n")
	hangUp()
	log.Await(t, `msg="this takes a restart" flags="channels max-message"`)
	log.Await(t, "msg=reloaded")
	write("log-level = \"debug\"\nauth = \"/nonexistent\"\n")
	hangUp()
	log.Await(t, `msg="this takes a restart" flags=auth`)
	// It is at debug level now: that says each connection.
	if _, _, code := command(t, build(t), "", "sub", "--server=ws://"+addrs["addr"], "--count=1", "--once",
		"--silence=1s"); code != 1 {
		t.Errorf("sub: got code %d", code)
	}
	log.Await(t, "level=DEBUG msg=connected")
	if err := stop(); err != nil {
		t.Error(err)
	}
}
