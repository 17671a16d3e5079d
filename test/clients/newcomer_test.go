package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// firstBlock is the commands that README begins with, and the page it then says to open.
func firstBlock(t *testing.T, readme string) (commands []string, page string) {
	t.Helper()
	m := regexp.MustCompile("(?s)```sh\n(.*?)```\n\nOpen (http://[^ ]+) in two browser tabs").FindStringSubmatch(readme)
	if m == nil {
		t.Fatal("README does not begin with commands and a page to open")
	}
	for line := range strings.Lines(m[1]) {
		commands = append(commands, strings.TrimSpace(line))
	}
	if len(commands) != 2 || strings.Index(readme, "```") != strings.Index(readme, m[0]) {
		t.Fatalf("README's first commands are %q, want two", commands)
	}
	return commands, m[2]
}

// TestNewcomer is node/newcomer.js: README's first commands in a clean clone, as they stand, and then
// two tabs. It has a network of its own, where nobody takes the ports.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium", "git", "unshare", "ip")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	// All that is started ends with it.
	isolated := []string{"--net", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 {
		isolated = append(isolated, "--map-root-user")
	}
	if runTool(exec.Command("unshare", append(isolated, "true")...), scriptTimeout) != nil {
		needTools(t, "the right to a network of one's own")
	}
	clone := filepath.Join(t.TempDir(), "crier")
	if err := runTool(exec.Command("git", "clone", "-q", filepath.Join("..", ".."), clone), scriptTimeout); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(clone, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands, page := firstBlock(t, string(readme))
	script := []string{"sh", "-c", `ip link set lo up && exec node "$@"`, "sh", "newcomer.js", browser, clone, page}
	t.Logf("\n%s", runScript(t, buildTimeout, nodeDir, "unshare", slices.Concat(isolated, script, commands)...))
}
