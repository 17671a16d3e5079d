package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/logtest"
	"github.com/crier-ws/crier/internal/tool"
)

// distributions writes tarballs as of deploy/dist for both processors. The program for this machine is
// crier, the other one is none.
func distributions(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var tarballs []string
	for _, arch := range []string{"amd64", "arm64"} {
		name := "crier_v1.2.3-rc.1+dirty_linux_" + arch
		tree := filepath.Join(dir, name)
		for file, text := range map[string]string{"crier": "no program", "LICENSE": "ours", "licenses/a/LICENSE": "theirs", "sbom.cdx.json": "{}"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(tree, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if arch == runtime.GOARCH {
			if err := os.Remove(filepath.Join(tree, "crier")); err != nil { // go build overwrites programs only.
				t.Fatal(err)
			}
			if _, err := criertest.Build(tree); err != nil {
				t.Fatal(err)
			}
		}
		tarballs = append(tarballs, tree+".tar.gz")
		run(t, "", nil, "tar", "-C", dir, "-czf", tree+".tar.gz", name)
	}
	return tarballs
}

// run runs a command that must succeed, and returns what it prints.
func run(t *testing.T, dir string, env []string, words ...string) string {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// nodePackage is a package of npm: its manifest and its files.
type nodePackage struct {
	file     []byte
	manifest map[string]any
	names    map[string]os.FileMode
}

func readPackage(t *testing.T, path string) nodePackage {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	p := nodePackage{file: b, names: make(map[string]os.FileMode)}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if err == io.EOF {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		name, inside := strings.CutPrefix(h.Name, "package/")
		if !inside {
			t.Errorf("%s: %s is not below package/", path, h.Name)
		}
		p.names[name] = h.FileInfo().Mode().Perm()
		if name == "package.json" {
			if err := json.NewDecoder(files).Decode(&p.manifest); err != nil {
				t.Fatalf("%s: package.json: %v", path, err)
			}
		}
	}
}

// packages runs deploy/npm, and returns the packages by their names.
func packages(t *testing.T, tarballs, env []string) map[string]nodePackage {
	t.Helper()
	env = append(env, "SOURCE_DATE_EPOCH=1795500000")
	words := append([]string{"bash", "-c", `umask "${MASK:-022}"; exec ../../deploy/npm "$@"`, "bash", t.TempDir()}, tarballs...)
	all := make(map[string]nodePackage)
	for path := range strings.FieldsSeq(run(t, "", env, words...)) {
		p := readPackage(t, path)
		all[p.manifest["name"].(string)] = p
	}
	return all
}

// registry serves packages as npm's does.
func registry(t *testing.T, all map[string]nodePackage) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if p, ok := all[strings.TrimSuffix(name, ".tgz")]; ok && strings.HasSuffix(name, ".tgz") {
			_, _ = w.Write(p.file)
			return
		}
		p, ok := all[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		sum := sha512.Sum512(p.file)
		p.manifest["dist"] = map[string]string{
			"tarball": "http://" + r.Host + "/" + name + ".tgz", "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
		}
		version := p.manifest["version"].(string)
		_ = json.NewEncoder(w).Encode(map[string]any{ // The client sees to the rest.
			"name": name, "dist-tags": map[string]string{"latest": version}, "versions": map[string]any{version: p.manifest},
		})
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// nodeArch is this machine's processor in Node's words.
var nodeArch = map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]

// project is a directory with packages that npm has installed.
type project struct {
	dir string
	env []string
}

// install has npm install @crier-ws/crier from a registry into a new project.
func install(t *testing.T, url string, more ...string) project {
	t.Helper()
	home := t.TempDir()
	p := project{dir: t.TempDir(), env: []string{
		"HOME=" + home, "npm_config_registry=" + url, "npm_config_cache=" + filepath.Join(home, "cache"), "npm_config_update_notifier=false",
	}}
	run(t, p.dir, p.env, append([]string{"npm", "install", "--no-audit", "--no-fund", "@crier-ws/crier"}, more...)...)
	return p
}

// ends runs a command of the project, and returns what it prints and its exit code.
func (p project) ends(t *testing.T, env []string, words ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env = p.dir, append(append(os.Environ(), p.env...), env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), log.String(), cmd.ProcessState.ExitCode()
}

const launcher = "node_modules/.bin/crier"

// TestNPM: npm brings the program for its machine and no other one, and the command is that program: its
// arguments, streams, exit codes and signals.
func TestNPM(t *testing.T) {
	tool.Need(t, "npm", "npx", "tar")
	tarballs := distributions(t)
	all := packages(t, tarballs, nil)
	for name, again := range packages(t, tarballs, []string{"TZ=Asia/Tokyo", "MASK=077"}) {
		if !bytes.Equal(all[name].file, again.file) {
			t.Errorf("%s: other bytes the second time", name)
		}
	}
	checkPackages(t, all)
	p := install(t, registry(t, all))
	if installed, err := filepath.Glob(p.dir + "/node_modules/@crier-ws/*"); err != nil || len(installed) != 2 {
		t.Errorf("got packages %q, %v, want the command and this machine's", installed, err)
	}
	for _, words := range [][]string{{launcher}, {"npx", "crier"}, {"npx", "@crier-ws/crier"}} {
		out, log, code := p.ends(t, nil, append(words, "version")...)
		if !strings.HasPrefix(out, "crier ") || log != "" || code != 0 {
			t.Errorf("%q: got %q, %q, exit code %d", words, out, log, code)
		}
	}
	if out, _, code := p.ends(t, nil, launcher, "config", "--greeting", `it's "a"  $b`); code != 0 || !strings.Contains(out, `"it's \"a\"  $b"`) {
		t.Errorf("an argument arrives changed: got %d, %s", code, out)
	}
	if out, log, code := p.ends(t, nil, launcher, "--lisen"); code != 2 || out != "" || !strings.HasPrefix(log, "crier: unknown flag") {
		t.Errorf("a wrong flag: got %d, %q, %q", code, out, log)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p.stops(t, sig, false, launcher)
		p.stops(t, sig, true, "npx", "crier") // As Ctrl-C does.
	}
	tool.Need(t, "setpriv")
	p.stops(t, syscall.SIGTERM, false, "npx", "crier")
	p.fails(t, all)
}

// checkPackages wants the packages to have what they need, and no script.
func checkPackages(t *testing.T, all map[string]nodePackage) {
	t.Helper()
	want := map[string][]string{
		"@crier-ws/crier":       {"bin/crier", "LICENSE", "README.md"},
		"@crier-ws/linux-x64":   {"bin/crier", "LICENSE", "licenses/a/LICENSE", "sbom.cdx.json"},
		"@crier-ws/linux-arm64": {"bin/crier", "LICENSE", "licenses/a/LICENSE", "sbom.cdx.json"},
	}
	if len(all) != len(want) {
		t.Errorf("got %d packages, want %d", len(all), len(want))
	}
	for name, files := range want {
		p := all[name]
		for _, file := range files {
			if _, ok := p.names[file]; !ok {
				t.Errorf("%s has no %s", name, file)
			}
		}
		if p.names["bin/crier"] != 0o755 || p.names["LICENSE"] != 0o644 {
			t.Errorf("%s: got modes %v", name, p.names)
		}
		if p.manifest["scripts"] != nil || p.manifest["license"] != "MIT" || p.manifest["version"] != "1.2.3-rc.1" {
			t.Errorf("%s: got %v, want no scripts, and Go's version without what npm has no place for", name, p.manifest)
		}
	}
}

var serving = regexp.MustCompile(`msg=serving .*addr=(127\.0\.0\.1:\d+)`)

// stops starts the server, connects to it, and wants a signal to end it once: it drains, and says nothing of a
// second one. The signal goes to the process, or to its whole group.
func (p project) stops(t *testing.T, sig syscall.Signal, toGroup bool, words ...string) {
	t.Helper()
	cmd := exec.Command(words[0], append(words[1:], "--listen=127.0.0.1:0", "--drain=1s")...)
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log logtest.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }).Stop()
	log.Await(t, "msg=serving")
	echoes(t, serving.FindStringSubmatch(log.String())[1])
	target := cmd.Process.Pid
	if toGroup {
		target = -target
	}
	if err := syscall.Kill(target, sig); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if words[0] == launcher && err != nil || !log.Has("msg=stopped") || log.Has("second signal") {
		t.Errorf("%q, %v, to its group %t: got %v, want it to drain\n%s", words, sig, toGroup, err, log.String())
	}
}

// fails wants the command to say what is missing where the program cannot run.
func (p project) fails(t *testing.T, all map[string]nodePackage) {
	t.Helper()
	without := install(t, registry(t, all), "--omit=optional")
	for name, tt := range map[string]struct {
		in    project
		uname string // What uname says, -s and -m.
		says  string
	}{
		"--omit=optional":   {without, "", "@crier-ws/linux-" + nodeArch + " is not installed"},
		"a Mac":             {p, "Darwin arm64", "Linux only"},
		"Windows":           {p, "MINGW64_NT-10.0 x86_64", "Linux only"},
		"another processor": {p, "Linux riscv64", "no package for the processor riscv64"},
	} {
		var env []string
		if system, machine, ok := strings.Cut(tt.uname, " "); ok {
			bin := t.TempDir()
			script := fmt.Sprintf("#!/bin/sh\ncase $1 in -s) echo %s ;; -m) echo %s ;; esac\n", system, machine)
			if err := os.WriteFile(filepath.Join(bin, "uname"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
		}
		out, log, code := tt.in.ends(t, env, launcher, "version")
		if code != 1 || out != "" || !strings.HasPrefix(log, "crier: ") || !strings.Contains(log, tt.says) || !strings.Contains(log, "\nhint: ") {
			t.Errorf("%s: got %d, %q, %q, want 1 and %q", name, code, out, log, tt.says)
		}
	}
	// npm takes the package of another processor where it is told to, and refuses Windows itself.
	other := install(t, registry(t, all), "--os=linux", "--cpu="+map[string]string{"x64": "arm64", "arm64": "x64"}[nodeArch])
	if found, _ := filepath.Glob(other.dir + "/node_modules/@crier-ws/linux-*"); len(found) != 1 || strings.HasSuffix(found[0], nodeArch) {
		t.Errorf("for the other processor: got %q", found)
	}
}
