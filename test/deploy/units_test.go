package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/tool"
)

const units = "../../deploy/systemd"

// mostExposed is ten times the exposure that systemd-analyze security may find: 0 is none, 100
// all. Versions weigh things differently; that of Debian 12 finds 11. Serving the internet
// (PrivateNetwork=, IPAddressDeny=, RestrictAddressFamilies=) makes up most of it.
const mostExposed = 15

// TestUnitsVerify: systemd understands each line.
func TestUnitsVerify(t *testing.T) {
	tool.Need(t, "systemd-analyze")
	verify := func(t *testing.T, more string) string {
		dir := t.TempDir()
		for _, name := range []string{"crier.service", "crier.socket"} {
			b, err := os.ReadFile(filepath.Join(units, name))
			if err != nil {
				t.Fatal(err)
			}
			// Where crier will be, there is none now.
			unit := strings.ReplaceAll(string(b), "/usr/local/bin/crier", "/bin/true") + more
			if err := os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, "crier.service"), filepath.Join(dir, "crier.socket")).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze verify: %v", err)
		}
		return string(out)
	}
	if out := verify(t, ""); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	if out := verify(t, "NoSuchLine=yes\n"); !strings.Contains(out, "NoSuchLine") {
		t.Errorf("a line that means nothing: systemd-analyze verify says %q, and not so", out)
	}
}

// TestUnitsSecurity: the service is as confined as a server on the network can be.
func TestUnitsSecurity(t *testing.T) {
	tool.Need(t, "systemd-analyze")
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager",
		fmt.Sprint("--threshold=", mostExposed), filepath.Join(units, "crier.service")).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "Overall exposure level") {
		t.Errorf("systemd-analyze security: %s", out)
	}
}
