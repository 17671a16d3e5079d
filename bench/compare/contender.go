package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// contender is a broadcaster. In its command {dir} is the directory of what was built.
type contender struct {
	name    string
	command string
	builds  string // what has to be built for it, see builders
}

var contenders = []contender{
	{"crier", "{dir}/crier --listen 127.0.0.1:{port} --log-level error", "crier"},
	{"floor", "{dir}/floor", "floor"},
	{"floor-c", "{dir}/floor -c", "floor"},
	{"gorilla", "{dir}/gorilla -listen 127.0.0.1:{port}", "peers"},
	{"coder", "{dir}/coder -listen 127.0.0.1:{port}", "peers"},
	{"gws", "{dir}/gws -listen 127.0.0.1:{port}", "peers"},
	{"nbio", "{dir}/nbio -listen 127.0.0.1:{port}", "peers"},
	{"melody", "{dir}/melody -listen 127.0.0.1:{port}", "peers"},
	{"gobwas", "{dir}/gobwas -listen 127.0.0.1:{port}", "peers"},
	{"node", "node {dir}/node/server.js", "node"},
}

func contenderNames() []string {
	var names []string
	for _, c := range contenders {
		names = append(names, c.name)
	}
	return names
}

// builders build something of the repository at top into dir.
var builders = map[string]func(ctx context.Context, top, dir string) error{
	"crier": func(ctx context.Context, top, dir string) error {
		return command(ctx, top, "go", "build", "-o", filepath.Join(dir, "crier"), "./cmd/crier")
	},
	"measure": func(ctx context.Context, top, dir string) error {
		return command(ctx, top, "go", "build", "-o", filepath.Join(dir, "measure"), "./bench/measure")
	},
	"floor": func(ctx context.Context, top, dir string) error {
		source := filepath.Join("bench", "floor", "floor.c")
		return command(ctx, top, "cc", "-O2", "-Wall", "-o", filepath.Join(dir, "floor"), source)
	},
	"peers": func(ctx context.Context, top, dir string) error {
		return command(ctx, filepath.Join(top, "bench", "peers"), "go", "build", "-o", dir+string(filepath.Separator), "./...")
	},
	"node": buildNode,
}

// buildNode installs in a copy, so that the tree stays clean.
func buildNode(ctx context.Context, top, dir string) error {
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	from, to := filepath.Join(top, "bench", "peers", "node"), filepath.Join(dir, "node")
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json", "server.js"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return err
		}
	}
	return command(ctx, to, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
}

// command runs a program in a directory. An error has the last line that it wrote.
func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, lines[len(lines)-1])
	}
	return err
}

// kit is what was built.
type kit struct {
	dir     string
	names   []string // contenders that can be started, in the order of contenders
	leftOut []string // why others are not there: "node: ..."
}

// buildKit builds the measuring program and the contenders into dir. With no names,
// those that cannot be built are left out; otherwise that is an error.
func buildKit(ctx context.Context, top, dir string, names []string) (*kit, error) {
	k := &kit{dir: dir}
	if err := builders["measure"](ctx, top, dir); err != nil {
		return nil, err
	}
	tried := map[string]error{}
	for _, c := range contenders {
		if names != nil && !slices.Contains(names, c.name) {
			continue
		}
		err, again := tried[c.builds]
		if !again {
			err = builders[c.builds](ctx, top, dir)
			tried[c.builds] = err
		}
		switch {
		case err == nil:
			k.names = append(k.names, c.name)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case names != nil || c.name == "crier":
			return nil, fmt.Errorf("%s: %w", c.name, err)
		default:
			reason := c.name + ": " + k.clean(reasonOf(err))
			fmt.Println("left out:", reason)
			k.leftOut = append(k.leftOut, reason)
		}
	}
	return k, nil
}

// reasonOf says what is missing without telling where this machine looked for it.
func reasonOf(err error) string {
	if missing := (*exec.Error)(nil); errors.As(err, &missing) {
		return "there is no " + missing.Name
	}
	return err.Error()
}

// clean takes the directory of this run out of a text.
func (k *kit) clean(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, k.dir+"/", ""), k.dir, "")
}

// argument returns how the measuring program is told about a contender.
func (k *kit) argument(name string) string {
	i := slices.IndexFunc(contenders, func(c contender) bool { return c.name == name })
	return name + "=" + strings.ReplaceAll(contenders[i].command, "{dir}", k.dir)
}

// repository returns the directory at the top of the repository. The working directory must be there or in this module.
func repository() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	path, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	switch path {
	case "github.com/crier-ws/crier":
		return dir, nil
	case "github.com/crier-ws/crier/bench/compare":
		return filepath.Join(dir, "..", ".."), nil
	}
	return "", fmt.Errorf("the working directory is in the module %s, want the top of crier's repository or bench/compare", path)
}
