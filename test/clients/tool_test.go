package clients

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	nodeDir      = "node"
	npmTimeout   = 3 * time.Minute
	mcsTimeout   = time.Minute
	skipTemplate = "\n**** SKIPPED %s: %s is not installed; crier is NOT tested with this client ****\n\n"
)

// needTools skips t with a loud line if one of the tools is absent. Where CI is set it
// fails instead: there a client left out would go unseen.
func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed, and CI is set", tool)
		}
		fmt.Fprintf(os.Stderr, skipTemplate, t.Name(), tool)
		t.Skipf("%s is not installed", tool)
	}
}

// needPython returns a Python that has the package websockets: Debian's has it where another
// one stands before it in the path.
func needPython(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import websockets").Run() == nil {
			return python
		}
	}
	needTools(t, "python3 with the package websockets")
	return ""
}

// installed is the outcome of npm ci, which runs at most once.
var installed = sync.OnceValue(func() error {
	locked, err := npmVersions("package-lock.json")
	if err != nil {
		return err
	}
	// npm writes this file last, so a broken install is not taken for a whole one.
	present, err := npmVersions(filepath.Join("node_modules", ".package-lock.json"))
	if err == nil && maps.Equal(present, locked) {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = nodeDir
	return runTool(cmd, npmTimeout)
})

// npmVersions returns the versions of packages in a lock file of npm, without those that only
// some machines need.
func npmVersions(file string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(nodeDir, file))
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version  string
			Optional bool
		}
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	versions := make(map[string]string)
	for name, pkg := range lock.Packages {
		if name != "" && !pkg.Optional {
			versions[name] = pkg.Version
		}
	}
	if versions["node_modules/ws"] == "" {
		return nil, fmt.Errorf("%s does not name ws", file)
	}
	return versions, nil
}

// needNode makes node and the packages of nodeDir ready.
func needNode(t *testing.T) {
	t.Helper()
	needTools(t, "node", "npm")
	if err := installed(); err != nil {
		t.Fatal(err)
	}
}

// compiled are programs in C#, each compiled at most once.
var compiled sync.Map // Of funcs that return path and error, by source.

// needMono returns the path of a program, compiled of one file of C#. flags are for mcs.
func needMono(t *testing.T, source string, flags ...string) string {
	t.Helper()
	needTools(t, "mcs", "mono")
	once, _ := compiled.LoadOrStore(source, sync.OnceValues(func() (string, error) {
		exe := filepath.Join(scratch, strings.TrimSuffix(filepath.Base(source), ".cs")+".exe")
		args := append(flags, "-codepage:utf8", "-warnaserror", "-out:"+exe, source)
		return exe, runTool(exec.Command("mcs", args...), mcsTimeout)
	}))
	exe, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// runTool runs cmd to its end, at most for limit. The error holds its output.
func runTool(cmd *exec.Cmd, limit time.Duration) error {
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
