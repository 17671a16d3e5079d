package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/doccode"
)

// makeToken runs crier token, which must print a single line, and returns it.
func makeToken(t *testing.T, args ...string) string {
	t.Helper()
	var out, log bytes.Buffer
	if code := run(append([]string{"token"}, args...), &out, &log); code != 0 || log.Len() > 0 ||
		strings.Count(out.String(), ".") != 2 {
		t.Fatalf("token %q: got code %d, %q and %q, want a token alone", args, code, out.String(), log.String())
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// keyFiles has files with keys by the kinds of keys: for making tokens, and for --auth.
func keyFiles(t *testing.T) map[string][2]string {
	t.Helper()
	dir := t.TempDir()
	files := make(map[string][2]string)
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	for kind, args := range map[string][]string{
		"ed25519": {"genpkey", "-algorithm", "ed25519"},
		"rsa":     {"genrsa"},
		"ec":      {"ecparam", "-name", "prime256v1", "-genkey"},
	} {
		openssl(append(args, "-out", kind)...)
		openssl("pkey", "-in", kind, "-pubout", "-out", kind+".pub")
		files[kind] = [2]string{filepath.Join(dir, kind), filepath.Join(dir, kind+".pub")}
	}
	openssl("rand", "-hex", "-out", "secret", "32")
	files["secret"] = [2]string{filepath.Join(dir, "secret"), filepath.Join(dir, "secret")}
	private, public := filepath.Join(dir, "private.pem"), filepath.Join(dir, "public.pem")
	var out, log bytes.Buffer
	code := run([]string{"token", "--new-key", "--key", private, "--public-key", public}, &out, &log)
	if info, err := os.Stat(private); code != 0 || out.Len() > 0 || err != nil || info.Mode() != 0o600 {
		t.Fatalf("token --new-key: got code %d, %q, %q, %v, want a file of mode 0600", code, out.String(), log.String(), err)
	}
	files["--new-key"] = [2]string{private, public}
	return files
}

// TestToken checks that a server accepts tokens of crier token with each kind of key, and only for their channels.
func TestToken(t *testing.T) {
	bin := build(t)
	for kind, file := range keyFiles(t) {
		addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels", "--drain=0",
			"--auth="+file[1], "--auth-audience=crier", "--auth-issuer=site")
		token := func(more ...string) string {
			return makeToken(t, append([]string{"--key", file[0], "--join=news/*", "--publish=news/chat", "--issuer=site"},
				more...)...)
		}
		if _, log, code := command(t, bin, "hello\n", "pub", "--admin-url=http://"+addrs["admin"], "news/chat"); code != 0 {
			t.Fatalf("pub: got code %d, %s", code, log)
		}
		sub := func(token, channel string) (string, string, int) {
			t.Setenv("CRIER_TOKEN", token)
			defer os.Unsetenv("CRIER_TOKEN")
			return command(t, bin, "", "sub", "--server=ws://"+addrs["addr"], "--last=1", "--count=1", channel)
		}
		good := token("--audience=crier")
		if out, log, code := sub(good, "news/chat"); code != 0 || out != "hello\n" || log != "" {
			t.Errorf("%s: got code %d, %q, %q, want the message", kind, code, out, log)
		}
		for name, tt := range map[string]struct{ token, channel, says string }{
			"another channel":  {good, "sport", "403"},
			"another audience": {token("--audience=other"), "news/chat", "401"},
			"no audience":      {token(), "news/chat", "401"},
			"another issuer":   {token("--audience=crier", "--issuer=other"), "news/chat", "401"},
			"no token":         {"", "news/chat", "CRIER_TOKEN"},
		} {
			_, log, code := sub(tt.token, tt.channel)
			if code != 1 || !strings.Contains(log, tt.says) || tt.token != "" && strings.Contains(log, tt.token) {
				t.Errorf("%s: %s: got code %d, %q, want 1, %s and no token", kind, name, code, log, tt.says)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// pasted starts a script of README on a terminal, with this crier in place of go run, and waits until it shows a
// text. The script ends with the test.
func pasted(t *testing.T, bin, dir, script, want string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", strings.ReplaceAll(script, "go run ./cmd/crier", bin))
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ours, theirs := terminal(t)
	cmd.Stdout, cmd.Stderr = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	defer time.AfterFunc(patience, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }).Stop()
	var shown strings.Builder
	b := make([]byte, 1<<10)
	for !strings.Contains(shown.String(), want) {
		n, err := ours.Read(b)
		shown.Write(b[:n])
		if err != nil {
			t.Fatalf("%s\nended before %q: %q", script, want, shown.String())
		}
	}
	return shown.String()
}

// TestTokensAsPasted checks that the commands in README's section on tokens end with a connected client.
func TestTokensAsPasted(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Tokens\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var scripts []string
	for _, b := range doccode.Blocks(section) {
		if b.Kind == "sh" {
			scripts = append(scripts, b.Text)
		}
	}
	if len(scripts) != 2 {
		t.Fatalf("got %d blocks of commands, want a server's and a client's", len(scripts))
	}
	bin, dir := build(t), t.TempDir()
	t.Setenv("CRIER_LISTEN", "127.0.0.1:0")
	m := servedAt.FindStringSubmatch(pasted(t, bin, dir, scripts[0], "connections="))
	if m == nil {
		t.Fatal("the start line has no address")
	}
	t.Setenv("CRIER_SERVER", "ws://"+m[1])
	pasted(t, bin, dir, scripts[1], "connected to ws://"+m[1]+"/news/chat")
}

// TestTokenFail checks for errors before a token is made, and that no file is overwritten.
func TestTokenFail(t *testing.T) {
	files := keyFiles(t)
	public, private := files["--new-key"][1], files["--new-key"][0]
	before, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lone := filepath.Join(dir, "lone.pem")
	t.Chdir(dir)
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "--join is not given"},
		{"--join /news", 2, "do not begin with /"},
		{"--join a**b", 2, `"a**b": want at most one *`},
		{"--join news --publish news/***", 2, "--publish: pattern"},
		{"--join news/* --publish sport", 2, "--publish sport: no --join allows"},
		{"--join news --ttl 0", 2, "--ttl is 0s, want more than 0"},
		{"--join news --new-key", 2, "--new-key and --join"},
		{"--join news", 2, "--key private.pem: no such file or directory\nhint: check the name; crier token --new-key"},
		{"--join news --key " + public, 2, "public key"},
		{"--join news --key " + dir, 2, "is a directory"},
		{"--new-key --key " + private + " --public-key " + lone, 2, private + ": the file exists"},
		{"--new-key --public-key " + public + " --key " + lone, 2, public + ": the file exists"},
		{"--new-key --key nowhere/a", 2, "--key nowhere/a: no such file"},
	} {
		if got := complaint(t, tt.code, append([]string{"token"}, strings.Fields(tt.args)...)...); !strings.Contains(got,
			tt.says) {
			t.Errorf("token %s: got %q, want it to say %q", tt.args, got, tt.says)
		}
	}
	if after, err := os.ReadFile(private); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the private key has changed, or is gone: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want no file left", left, err)
	}
	t.Setenv("CRIER_PUBLISH", "none") // A flag of serving.
	makeToken(t, "--key", private, "--join=news")
	for args, says := range map[string]string{
		"--token a.b.c --token-file x": "--token and --token-file",
		"--token a\u00e9s3cret":        "--token has spaces",
	} {
		if got := complaint(t, 2, append([]string{"sub"}, strings.Fields(args)...)...); !strings.Contains(got, says) ||
			strings.Contains(got, "s3cret") {
			t.Errorf("sub %s: got %q, want it to say %q", args, got, says)
		}
	}
}
