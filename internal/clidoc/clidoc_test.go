package clidoc

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/tool"
)

// towel is a program with a value of each kind.
type towel struct {
	Dry struct {
		Slow  string   `default:"close" enum:"close,skip" placeholder:"close|skip" help:"What becomes of 'it' in [brackets]: two sentences. It's here (default: close)."`
		Key   string   `placeholder:"FILE" help:"Key."`
		Addr  string   `group:"Where" placeholder:"HOST:PORT" help:"Address; a\\b \"c\" $d."`
		Sleep bool     `help:".dot in front, ^caret ~tilde and a backtick."`
		Many  []string `group:"Where" placeholder:"X" help:"Many."`
		Count int      `short:"c" help:"A count." env:"TOWEL_COUNT"`
		None  bool     `hidden:"" help:"Nobody sees this."`
	} `cmd:"" default:"withargs" help:"Dry: the default. And more."`
	Fold struct {
		Name string `arg:"" optional:"" help:"Name."`
		File string `arg:"" optional:"" type:"existingfile" help:"File."`
		Once bool   `help:"Once."`
	} `cmd:"" help:"Fold it."`
	Shell struct {
		Shell string `arg:"" enum:"bash,fish" help:"Which."`
	} `cmd:"" help:"What shells need."`
	Secret struct{} `cmd:"" hidden:"" help:"Nobody sees this either."`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(new(towel), kong.Name("towel"), kong.Description("A towel: it dries."))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

// TestCompletion checks the completions of real shells.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, line, want string
	}{
		{"command", "towel fo", "fold"},
		{"flag of the default command", "towel --sl", "--sleep --slow"},
		{"value behind a space", "towel --slow s", "skip"},
		{"value behind an equals sign", "towel --slow=s", "skip"},
		{"flag of another command", "towel fold --on", "--once"},
		{"flag behind a flag", "towel --sleep --ma", "--many"},
		{"no flag of another command", "towel fold --sl", ""},
		{"argument", "towel shell f", "fish"},
		{"file of a flag", "towel --key a-", "a-file"},
		{"file of an argument", "towel fold x a-", "a-file"},
		{"hidden command", "towel secr", ""},
		{"hidden flag", "towel --non", ""},
	}
	for _, shell := range Shells {
		script, err := Completion(model(t), shell)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "towel."+shell)
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			t.Run(shell+" "+tt.name, func(t *testing.T) {
				tool.Need(t, shell)
				if got := complete(t, shell, dir, file, tt.line); got != tt.want {
					t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
				}
			})
		}
	}
	if _, err := Completion(model(t), "csh"); err == nil {
		t.Error("csh: got no error")
	}
}

// TestValueLikeCommand checks that the value of a flag is not taken for a command of the same name. Fish and zsh take
// it for one.
func TestValueLikeCommand(t *testing.T) {
	tool.Need(t, "bash")
	dir := t.TempDir()
	script, err := Completion(model(t), "bash")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "towel.bash")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"towel --addr fold --sl":             "--sleep --slow",
		"towel --addr=fold --sl":             "--sleep --slow",
		"towel --sleep fold --on":            "--once",
		"towel --sleep=true fold --on":       "--once",
		"towel --addr fold fold --on":        "--once",
		"towel --slow close --addr x fold -": "--help --once",
	} {
		if got := complete(t, "bash", dir, file, line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// askBash calls the function as bash does, with the words of the line $2.
const askBash = `source "$1"
read -ra COMP_WORDS <<<"${2//=/ = }"
COMP_CWORD=$((${#COMP_WORDS[@]}-1))
_towel
echo "${COMPREPLY[*]}"`

// askFish prints a candidate and its description in each line.
const askFish = `source $argv[1]; complete -C $argv[2]`

// askZsh types the line and a tab into a zsh whose completion reports each addition. A text that is not a completion
// marks the end.
const askZsh = `zmodload zsh/zpty
cd $3
zpty z zsh -f -i
zpty -w z "autoload -Uz compinit; compinit -D; source $1; PS1=; TRAPEXIT() { }
compadd() { local a; builtin compadd -O a \"\$@\"; print -rn -- \"<\${(j: :)a}>\"; builtin compadd \"\$@\" }
finish() { zle complete-word; print -rn -- 'EN''D' }
zle -N finish; bindkey '^T' finish; print REA''DY"
zpty -r -m z out '*READY*' || exit 1
zpty -w -n z $2$'\C-t'
zpty -r -m z out '*END*' || exit 1
print -r -- $out`

// complete returns the candidates that a shell has at the end of a line, sorted.
func complete(t *testing.T, shell, dir, file, line string) string {
	t.Helper()
	var cmd *exec.Cmd
	switch shell {
	case "bash":
		cmd = exec.Command("bash", "--norc", "-c", askBash, "bash", file, line)
	case "zsh":
		cmd = exec.Command("zsh", "-f", "-c", askZsh, "zsh", file, line, dir)
	case "fish":
		cmd = exec.Command("fish", "--no-config", "-c", askFish, file, line)
	}
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	words := strings.Fields(string(out))
	switch shell {
	case "fish":
		words = words[:0]
		for l := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
			words = append(words, strings.TrimPrefix(word, "--slow="))
		}
	case "zsh":
		words = words[:0]
		for _, match := range added.FindAllStringSubmatch(string(out), -1) {
			words = append(words, strings.Fields(match[1])...)
		}
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

// added matches the report of an addition by the zsh of askZsh.
var added = regexp.MustCompile(`<([^<>]*)>`)

// TestMan checks that mandoc has no complaints about the pages, and that they show all texts.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pages")
	app := model(t)
	if err := WriteMan(app, Release{Version: "v1.2.3-rc.1", Date: "2026-11-23"}, dir); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(pages) != 4 {
		t.Fatalf("got %v and %v, want 4 pages: what is hidden has none", pages, err)
	}
	tool.Need(t, "mandoc")
	for _, page := range pages {
		if out, err := exec.Command("mandoc", "-T", "lint", "-W", "warning", page).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	out, err := exec.Command("mandoc", "-T", "ascii", "-O", "width=1000", filepath.Join(dir, "towel-dry.1")).Output()
	if err != nil {
		t.Fatal(err)
	}
	plain := backspaced.ReplaceAllString(string(out), "")
	for _, f := range flagsOf(app, app.DefaultCmd) {
		// On a terminal, two spaces follow a sentence.
		for _, want := range []string{"--" + f.Name, strings.ReplaceAll(f.Help, ". ", ".  ")} {
			if !strings.Contains(plain, want) {
				t.Errorf("the page does not have %q:\n%s", want, plain)
			}
		}
	}
	for _, want := range []string{"-c, --count", "--slow=close|skip", "TOWEL_COUNT", "v1.2.3-rc.1", "2026-11-23",
		"towel-fold(1)"} {
		if !strings.Contains(plain, want) {
			t.Errorf("the page does not have %q:\n%s", want, plain)
		}
	}
	where := strings.Index(plain, "\n   Where\n")
	for flag, in := range map[string]bool{"--addr": true, "--many": true, "--slow": false, "--count": false} {
		if at := strings.Index(plain, flag); where < 0 || in != (at > where) {
			t.Errorf("%s stands at %d, its group's title at %d:\n%s", flag, at, where, plain)
		}
	}
	if strings.Contains(plain, "--none") || strings.Contains(plain, "secret") {
		t.Errorf("the page shows what is hidden:\n%s", plain)
	}
}

// backspaced matches bold and underlined letters, which are overstruck.
var backspaced = regexp.MustCompile(`.\x08`)
