package clients

import (
	"os/exec"
	"testing"
	"time"
)

// TestChromium is node/browser.js: two tabs of a real browser, with crier as it is and with
// compression.
func TestChromium(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	plain, compressing := startCrier(t), startCrier(t, "--compress")
	t.Logf("\n%s", runScript(t, 3*time.Minute, nodeDir, "node", "browser.js", browser, plain.url))
	t.Logf("\n%s", runScript(t, 3*time.Minute, nodeDir, "node", "browser.js", browser, compressing.url, "permessage-deflate"))
}

// TestChromiumEventsRefused is node/events_full.js: an EventSource that a full server refuses comes back.
func TestChromiumEventsRefused(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	full := startCrier(t, "--max-conns", "1")
	t.Logf("\n%s", runScript(t, 3*time.Minute, nodeDir, "node", "events_full.js", browser, full.url))
}
