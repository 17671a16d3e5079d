package main

import (
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/clidoc"
	"github.com/crier-ws/crier/internal/doccode"
)

const repository = "../.."

// configurations returns the files of examples and deploy (programs, configurations and dashboards) by their paths
// from the top of the repository.
func configurations(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, top := range []string{"examples", "deploy", "Makefile"} {
		err := filepath.WalkDir(filepath.Join(repository, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			rel, _ := filepath.Rel(repository, path)
			files[rel] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// crierArgs returns the arguments with which a command starts crier. It returns false if it does not start crier.
func crierArgs(words []string) (args []string, ok bool) {
	switch {
	case filepath.Base(words[0]) == "crier":
		return words[1:], true
	case len(words) > 1 && words[0] == "npx" && words[1] == "@crier-ws/crier":
		return words[2:], true
	case len(words) > 2 && slices.Equal(words[:3], []string{"go", "run", "./cmd/crier"}):
		return words[3:], true
	case words[0] == "docker" && (slices.Contains(words, "run") || slices.Contains(words, "exec")):
		for len(words) > 1 && filepath.Base(words[0]) != "crier" { // The image or the container.
			words = words[1:]
		}
		if len(words) > 1 && words[1] == "/crier" { // What runs in it.
			words = words[1:]
		}
		return words[1:], true
	}
	return nil, false
}

// commandLines returns the command lines of a script that start crier, and those for a program that starts it:
// alone='/tmp/crier --listen ...'.
func commandLines(script string) (lines [][]string) {
	for _, c := range doccode.Commands(script) {
		if args, ok := crierArgs(c.Words); ok {
			lines = append(lines, args)
		}
		for _, word := range c.Words {
			if _, command, ok := strings.Cut(word, "="); ok {
				if words := strings.Fields(strings.ReplaceAll(command, "{port}", "18000")); len(words) > 1 &&
					filepath.Base(words[0]) == "crier" {
					lines = append(lines, words[1:])
				}
			}
		}
	}
	return lines
}

// prompts returns the typed lines in the text of a terminal.
func prompts(text string) string {
	var typed []string
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			typed = append(typed, command)
		}
	}
	return strings.Join(typed, "")
}

// model returns crier's commands by their names, and all flags.
func model() (commands map[string]*kong.Node, flags map[string]*kong.Flag) {
	commands, flags = make(map[string]*kong.Node), make(map[string]*kong.Flag)
	root := newParser(&cli{}, nil, io.Discard, io.Discard, func(int) {}).Model
	for _, cmd := range root.Leaves(false) {
		commands[cmd.Name] = cmd
		for _, f := range append(cmd.Flags, root.Flags...) {
			flags[f.Name] = f
		}
	}
	return commands, flags
}

var (
	longFlag = regexp.MustCompile(`(?:^|[\s(])--([a-z][a-z-]*[a-z])`)
	envName  = regexp.MustCompile(`\bCRIER_[A-Z_]*[A-Z]\b`)
)

// foreign lists flags of other programs in documents.
var foreign = map[string][]string{
	"README.md":            {"now"},                    // systemctl's.
	"clients/js/README.md": {"experimental-websocket"}, // Node's.
	"docs/operations.md":   {"allow-batch"},            // nats'.
}

// TestDocumentsCommandLines checks that crier accepts each command line in documents, examples and deploy.
func TestDocumentsCommandLines(t *testing.T) {
	lines := make(map[string][][]string)
	docs, err := doccode.Documents(repository)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range docs {
		for _, b := range doccode.Blocks(text) {
			switch b.Kind {
			case "sh", "indented":
				lines[path] = append(lines[path], commandLines(b.Text)...)
			case "":
				lines[path] = append(lines[path], commandLines(prompts(b.Text))...)
			}
		}
	}
	for path, text := range configurations(t) {
		lines[path] = commandLines(strings.Join(doccode.Comments(text), "\n"))
	}
	n := 0
	for path, of := range lines {
		for _, args := range of {
			n++
			parser := newParser(&cli{}, args, io.Discard, io.Discard, func(int) {})
			if _, err := parser.Parse(args); err != nil {
				t.Errorf("%s: crier %s: %v", path, strings.Join(args, " "), err)
			}
		}
	}
	if n < 12 {
		t.Errorf("found %d command lines only", n)
	}
}

var update = flag.Bool("update", false, "write docs/flags.md")

// flagsDocument is the text of docs/flags.md before the tables.
const flagsDocument = `# Commands and flags

<!-- Generated: go test ./cmd/crier -run FlagsDocument -update -->

Each flag can also be set in the environment, as CRIER_ and its name in capitals, or in the TOML file of ` + "`--config`" + `:
` + "`--max-message 2MiB`, `CRIER_MAX_MESSAGE=2MiB` and `max-message = \"2MiB\"`" + ` mean the same. A flag wins over the
environment, and the environment wins over the file. ` + "`crier config`" + ` prints the settings in effect and where each comes
from; ` + "`crier config --template`" + ` prints a file with all flags.

- Sizes are bytes or written like ` + "`512KiB`, `1MiB`, `2GiB`" + `; durations are written like ` + "`500ms`, `30s`, `1m30s`" + `.
- A value that can never take effect is an error at the start, with exit code 2. So is an empty value where empty means
  nothing, and a variable or a setting whose name is nearly that of a flag. Other variables that begin with ` + "`CRIER_`" + ` are
  logged and ignored.
- SIGHUP reads the files of ` + "`--config` and `--auth`" + ` again and logs which changes need a restart.
`

// TestFlagsDocument checks that docs/flags.md has the flags as they are defined.
func TestFlagsDocument(t *testing.T) {
	app := newParser(&cli{}, nil, io.Discard, io.Discard, func(int) {}).Model
	want := flagsDocument + clidoc.Markdown(app)
	path := filepath.Join(repository, "docs", "flags.md")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); string(got) != want {
		t.Errorf("%v, or docs/flags.md is not up to date: go test ./cmd/crier -run FlagsDocument -update", err)
	}
}

// mentioned returns an error for an invalid command line in running text, which may lack arguments.
func mentioned(commands map[string]*kong.Node, line string) error {
	words := strings.Fields(line)[1:]
	name := "serve"
	if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		name = words[0]
	}
	if commands[name] == nil {
		return errors.New("there is no such command")
	}
	for _, m := range longFlag.FindAllStringSubmatch(line, -1) {
		if m[1] != "help" && !slices.ContainsFunc(commands[name].Flags, func(f *kong.Flag) bool { return f.Name == m[1] }) {
			return errors.New("there is no --" + m[1])
		}
	}
	return nil
}

// TestDocumentsFlags checks that the commands, flags and environment variables in documents exist.
func TestDocumentsFlags(t *testing.T) {
	docs, err := doccode.Documents(repository)
	if err != nil {
		t.Fatal(err)
	}
	commands, flags := model()
	n := 0
	for path, text := range docs {
		if path == "bench/vm/README.md" {
			continue // Its flags are of bench/vm/run: see test/docs.
		}
		for _, span := range doccode.Spans(text) {
			if strings.HasPrefix(span, "crier ") {
				if err := mentioned(commands, span); err != nil {
					t.Errorf("%s: %s: %v", path, span, err)
				}
			}
			for _, m := range longFlag.FindAllStringSubmatch(span, -1) {
				n++
				if flags[m[1]] == nil && !slices.Contains(foreign[path], m[1]) {
					t.Errorf("%s: `%s`: there is no --%s", path, span, m[1])
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("found %d flags only", n)
	}
	known := make(map[string]bool)
	for _, f := range flags {
		for _, name := range f.Envs {
			known[name] = true
		}
	}
	texts := configurations(t)
	for path, text := range docs {
		texts[path] = text
	}
	for path, text := range texts {
		for _, name := range envName.FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s: there is no flag for %s", path, name)
			}
		}
	}
}
