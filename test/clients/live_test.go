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
	desk, tablet, phone := pictureFile(t, "live.png"), pictureFile(t, "live-tablet.png"), pictureFile(t, "live-phone.png")
	args := []string{"live.js", browser, crierBin, freeAddr(t), freeAddr(t), filepath.Join(t.TempDir(), "token"), desk, tablet, phone}
	if *screenshots != "" {
		args = append(args, "long") // So that there is something in the graphs.
	}
	t.Logf("\n%s", runScript(t, 15*time.Minute, nodeDir, "node", args...))
	checkPicture(t, desk, 1280, 800)
	checkPicture(t, tablet, 800, 900)
	checkPicture(t, phone, 780, 1688)
}

// TestLivePage is node/live_page.js: what no server says in a minute, from a night of snapshots to
// names that are markup.
func TestLivePage(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", runScript(t, 10*time.Minute, nodeDir, "node", "live_page.js", browser, crierBin, freeAddr(t)))
}
