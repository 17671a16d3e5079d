package clients

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// scriptTimeout is long enough for a busy machine and a crier with the race detector.
const scriptTimeout = 5 * time.Minute

// TestNode is node/suite.js against the server under test, with all that crier promises.
func TestNode(t *testing.T) {
	t.Parallel()
	needNode(t)
	tgt := startTarget(t)
	args := []string{"suite.js", "--binary", tgt.binary(), "--limit", strconv.Itoa(tgt.limitBytes)}
	if tgt.pings {
		args = append(args, "--pings")
	}
	t.Logf("\n%s", runScript(t, scriptTimeout, nodeDir, "node", append(args, tgt.url)...))
}

// TestDropIn runs one script against Node's broadcaster and against crier, with default
// flags, and compares what it observed. One line may differ: the usual broadcaster sends
// everything on as text, crier keeps binary.
func TestDropIn(t *testing.T) {
	t.Parallel()
	needNode(t)
	if crierBin == "" {
		t.Skip("compares Node's broadcaster with crier, and crier is not the target")
	}
	observe := func(tgt *target) map[string]string {
		out := runScript(t, scriptTimeout, nodeDir, "node",
			"suite.js", "--binary", tgt.binary(), tgt.url)
		t.Logf("%s:\n%s", tgt, out)
		return byCheck(out)
	}
	want, got := observe(startBroadcaster(t)), observe(startCrier(t))
	if len(got) != len(want) || len(got) < 12 {
		t.Errorf("got %d checks, want %d and at least 12", len(got), len(want))
	}
	for check := range want {
		if check != "binary" && got[check] != want[check] {
			t.Errorf("%s: got %q from crier, want %q as from Node", check, got[check], want[check])
		}
	}
}

// byCheck splits the lines "check: observation" of suite.js.
func byCheck(out string) map[string]string {
	checks := make(map[string]string)
	for line := range strings.Lines(out) {
		name, observed, _ := strings.Cut(strings.TrimSpace(line), ": ")
		checks[name] = observed
	}
	return checks
}
