package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/doccode"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// A way is how a command of a document is checked. cmd/crier parses all command lines of crier, besides.
type way int

const (
	unknown   way = iota
	runs          // It is run, and must succeed.
	serves        // It is run, and must listen until the next one takes its port, or the document ends.
	follows       // It is run until something comes, as it does not end.
	installs      // It is run, into another root.
	hasFlags      // Its flags are there; it would take too long.
	hasSyntax     // Shell, paths and targets are right; it changes the host, or needs what is not there.
)

// wayOf is the rule by which a command is checked.
func wayOf(words []string) way {
	switch program := filepath.Base(words[0]); program {
	case "openssl":
		return runs
	case "curl":
		if slices.Contains(words, "-N") {
			return follows
		}
		return runs
	case "go":
		return wayOfGo(words)
	case "install":
		if slices.ContainsFunc(words, ours.MatchString) {
			return installs
		}
		return hasSyntax // What make dist has made.
	case "measure", "run":
		return hasFlags
	case "apt-get", "cc", "cd", "cp", "docker", "echo", "helm", "kill", "kubectl", "make", "mkdir", "npm", "npx", "sed", "systemctl", "tar", "taskset":
		return hasSyntax // test/kubernetes runs sed.
	}
	return unknown
}

// wayOfGo is wayOf for the go command.
func wayOfGo(words []string) way {
	switch command := strings.Join(words[1:min(3, len(words))], " "); {
	case slices.Contains(words, "--cluster"):
		return hasSyntax // test/cluster has servers of NATS.
	case command == "run ./cmd/crier" && len(words) > 3 && words[3] == "sub":
		return hasSyntax // cmd/crier runs it, on a terminal.
	case command == "run ./cmd/crier" && len(words) > 3 && !strings.HasPrefix(words[3], "-"):
		return runs
	case command == "run ./cmd/crier", command == "run ./examples/chat", command == "run ./examples/cluster":
		return serves
	case strings.HasPrefix(command, "run ./bench/"):
		return hasFlags
	case words[1] == "build", words[1] == "test":
		return hasSyntax
	}
	return unknown
}

// kinds are how blocks other than commands are checked, by what stands behind their fences. A
// transcript is replayed in test/protocol, and permissions are what NATS is given in test/cluster.
var kinds = map[string]func(t *testing.T, text string){
	"go":         compile,
	"js":         parseJS,
	"json":       parseJSON,
	"ini":        parseUnit,
	"yaml":       parsePrometheus,
	"transcript": func(*testing.T, string) {},
	"nats":       func(*testing.T, string) {},
}

// outputs begin blocks that show what is printed, or a picture: what was typed stands behind a
// prompt, and is parsed in cmd/crier.
var outputs = []string{
	"$ crier doctor --conns 1000000\n",     // docs/operations.md
	"crier: --listen :18000: the port is ", // README.md; TestCommandLine has it.
	"before: nproc 2, MemTotal: ",          // docs/performance.md
	"accept -> handshake -> readable -> ",  // docs/architecture.md
}

// TestCommands checks all code of the documents. Each document is a session, as of one who reads it
// and types what it says: crier goes on until another one takes its place.
func TestCommands(t *testing.T) {
	tools := buildTools(t)
	commands := 0
	for path, text := range documents(t) {
		t.Run(path, func(t *testing.T) {
			s := newSession(t, tools)
			for _, b := range doccode.Blocks(text) {
				name := fmt.Sprintf("line %d", b.Line)
				kind, _, _ := strings.Cut(b.Kind, " ")
				isOutput := slices.ContainsFunc(outputs, func(o string) bool { return strings.HasPrefix(b.Text, o) })
				switch {
				case kinds[kind] != nil:
					t.Run(name, func(t *testing.T) { kinds[kind](t, b.Text) })
				case isOutput:
				case kind == "indented" && strings.HasPrefix(b.Text, "const "):
					t.Run(name, func(t *testing.T) { parseJS(t, b.Text) })
				case kind == "sh", kind == "indented":
					t.Run(name, func(t *testing.T) { commands += s.script(t, b.Text) })
				default:
					t.Errorf("%s: a block of kind %q: say how it is checked", name, b.Kind)
				}
			}
		})
	}
	if commands < 35 {
		t.Errorf("found %d commands only", commands)
	}
}

// script checks a block of commands, and returns how many there are.
func (s *session) script(t *testing.T, text string) int {
	t.Helper()
	parseShell(t, text)
	commands := doccode.Commands(text)
	lines := strings.Split(text, "\n")
	s.variables += strings.Join(assignment.FindAllString(text, -1), "\n") + "\n"
	dir := ""
	for i, c := range commands {
		c.Words = atTop(c.Words)
		checkPaths(t, dir, c.Words)
		if c.Words[0] == "cd" && !c.Subshell && ours.MatchString(c.Words[1]) {
			dir = c.Words[1]
		}
		if runsForever(c.Words) && !c.Background && i+1 < len(commands) && !strings.Contains(lines[commands[i+1].Line], "in another terminal") {
			t.Errorf("%s: what is below it does not run before it ends", lines[c.Line])
		}
		switch wayOf(c.Words) {
		case runs:
			s.run(t, c.Words)
		case serves:
			s.serve(t, c.Words)
		case follows:
			s.follow(t, c.Words)
		case installs:
			s.install(t, c.Words)
		case hasFlags:
			s.checkFlags(t, c.Words)
			if filepath.Base(c.Words[0]) == "measure" {
				s.checkServers(t, strings.Join(lines[c.Line:], "\n"))
			}
		case hasSyntax:
		default:
			t.Errorf("%s: say how it is checked", lines[c.Line])
		}
	}
	return len(commands)
}

// atTop returns go run -C DIR . as go run ./DIR: buildTools has built the programs of all modules.
func atTop(words []string) []string {
	if len(words) > 4 && words[0] == "go" && words[2] == "-C" && words[4] == "." {
		return slices.Concat(words[:2], []string{"./" + words[3]}, words[5:])
	}
	return words
}

// runsForever reports whether a command does not end by itself.
func runsForever(words []string) bool {
	if words[0] == "taskset" && len(words) > 3 {
		words = words[3:]
	}
	return wayOf(words) == serves || filepath.Base(words[0]) == "nats-server"
}

// assignment is a line that only gives a variable its value.
var assignment = regexp.MustCompile(`(?m)^[A-Z]+=.*$`)

// contender is a server that measure takes: NAME=COMMAND.
var contender = regexp.MustCompile(`^[a-z]+=[^= ]+( |$)`)

// checkServers wants measure to be given servers, when bash has put variables of the document in. The command is the
// first one of a script.
func (s *session) checkServers(t *testing.T, script string) {
	t.Helper()
	command := regexp.MustCompile(`^(?:.*\\\n)*.*`).FindString(script)
	out, err := exec.Command("bash", "-c", s.variables+"printf '%s\\n' "+command).Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	first := slices.IndexFunc(words, func(word string) bool { return strings.Contains(word, "=") })
	if first < 0 {
		t.Fatalf("%s: there is no server", command)
	}
	for _, word := range words[first:] {
		if !contender.MatchString(word) {
			t.Errorf("%s: %q is no NAME=COMMAND", command, word)
		}
	}
}

// parseShell has bash parse a script.
func parseShell(t *testing.T, text string) {
	t.Helper()
	tool.Need(t, "bash")
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("bash -n: %v\n%s", err, out)
	}
}

// ours begins a path in the repository.
var ours = regexp.MustCompile(`^(?:\./)?(?:bench|clients|cmd|deploy|docs|examples|test)/`)

// checkPaths wants what a command names to be there: files of the repository, as seen from dir in it, and targets of
// make.
func checkPaths(t *testing.T, dir string, words []string) {
	t.Helper()
	for _, path := range strings.Fields(strings.Join(words, " ")) {
		if found, _ := filepath.Glob(filepath.Join(root, dir, path)); ours.MatchString(path) && len(found) == 0 {
			t.Errorf("%s is not there", filepath.Join(dir, path))
		}
	}
	if words[0] == "make" {
		makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
		if err != nil || !strings.Contains(string(makefile), "\n"+words[1]+":") {
			t.Errorf("there is no make %s, %v", words[1], err)
		}
	}
}

func parseJSON(t *testing.T, text string) {
	t.Helper()
	if !json.Valid([]byte(text)) {
		t.Error("this is no JSON")
	}
}

// parseUnit parses a part of a systemd unit: systemd.syntax(7). TestSystemd checks that real units work.
func parseUnit(t *testing.T, text string) {
	t.Helper()
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			if section != "Socket" && section != "Service" {
				t.Errorf("got the section %s, want Socket or Service", line)
			}
		} else if key, _, ok := strings.Cut(line, "="); line != "" && line[0] != '#' && (!ok || key == "" || section == "") {
			t.Errorf("got the line %q, want KEY=VALUE in a section", line)
		}
	}
	if section == "" {
		t.Error("got no section of a unit")
	}
}

// parsePrometheus has Prometheus' own tool read a configuration. That it fits the manifest, test/kubernetes shows.
func parsePrometheus(t *testing.T, text string) {
	t.Helper()
	tool.Need(t, "promtool")
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "config", "--syntax-only", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// parseJS has Node parse a module.
func parseJS(t *testing.T, text string) {
	t.Helper()
	tool.Need(t, "node")
	file := filepath.Join(t.TempDir(), "block.mjs")
	if strings.Contains(text, "require(") {
		file = strings.TrimSuffix(file, ".mjs") + ".cjs"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("node", "--check", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
