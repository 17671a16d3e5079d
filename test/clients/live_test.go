package clients

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestLive is node/live.js: the live page on a desk and on a phone, with a server under load that
// goes away and comes back.
func TestLive(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	desk, phone := pictureFile(t, "live.png"), pictureFile(t, "live-phone.png")
	seconds := "8"
	if *screenshots != "" {
		seconds = "150" // So that there is something in the graphs.
	}
	t.Logf("\n%s", runScript(t, 15*time.Minute, nodeDir, "node", "live.js", browser, crierBin,
		freeAddr(t), freeAddr(t), filepath.Join(t.TempDir(), "token"), desk, phone, seconds))
	checkPicture(t, desk, 1200, 820)
	checkPicture(t, phone, 780, 1688)
}
