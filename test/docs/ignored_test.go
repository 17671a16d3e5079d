package docs

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/doccode"
	"github.com/crier-ws/crier/internal/tool"
)

var (
	redirected = regexp.MustCompile(`[^>0-9]>([a-z][a-z0-9./_-]*)`)
	named      = regexp.MustCompile(`(?:--plot|-out) ([a-z][a-z0-9./_-]*)`)
)

// TestIgnored: what README's commands make in a clone, git leaves alone.
func TestIgnored(t *testing.T) {
	tool.Need(t, "git")
	made := []string{
		"dist/crier_v1.0.0_linux_amd64.tar.gz", "crier_v1.0.0_linux_amd64/crier", // make dist, and tar.
		"private.pem", "public.pem", // crier token --new-key
		"crier", "examples/chat-csharp/Chat.exe", "examples/chat-csharp/obj/project.assets.json",
	}
	for _, b := range doccode.Blocks(documents(t)["README.md"]) {
		if b.Kind != "sh" {
			continue
		}
		for _, m := range append(redirected.FindAllStringSubmatch(b.Text, -1), named.FindAllStringSubmatch(b.Text, -1)...) {
			made = append(made, m[1])
		}
	}
	if len(made) < 8 {
		t.Errorf("found %q only", made)
	}
	for _, file := range made {
		cmd := exec.Command("git", "check-ignore", "--quiet", "--no-index", file)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s is not in .gitignore: %v %s", file, err, out)
		}
	}
	out, err := exec.Command("git", "-C", root, "ls-files", "--cached", "--ignored", "--exclude-standard").Output()
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("got %v, and files of the repository that are in .gitignore: %s", err, out)
	}
}
