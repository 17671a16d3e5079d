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

// A trial is commands of README, and the page that it then says to open.
type trial struct {
	commands []string
	page     string
}

// trials returns those of README. Its first block of code is the first one, and has one command.
func trials(t *testing.T, readme string) (all []trial) {
	t.Helper()
	blocks := regexp.MustCompile("```sh\n([^`]*)```\n\nOpen (http://[^ ]+) in two browser tabs").FindAllStringSubmatch(readme, -1)
	for _, m := range blocks {
		all = append(all, trial{strings.Split(strings.TrimSpace(m[1]), "\n"), m[2]})
	}
	if len(all) != 2 || len(all[0].commands) != 1 || strings.Index(readme, "```") != strings.Index(readme, blocks[0][0]) {
		t.Fatalf("README's commands before a page are %q, want one at its beginning, and the chat's", all)
	}
	return all
}

// TestNewcomer is node/newcomer.js: README's commands in a clean clone, as they stand, and then two tabs. It has a
// network of its own, where nobody takes the ports.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium", "git", "unshare", "ip", "script")
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
	for _, tr := range trials(t, string(readme)) {
		script := []string{"sh", "-c", `ip link set lo up && exec node "$@"`, "sh", "newcomer.js", browser, clone, tr.page}
		t.Logf("\n%s", runScript(t, buildTimeout, nodeDir, "unshare", slices.Concat(isolated, script, tr.commands)...))
	}
}
