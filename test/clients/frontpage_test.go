package clients

import (
	"net"
	"os/exec"
	"testing"
	"time"
)

// TestFrontPage is node/frontpage.js: the page at crier's own address, on a desk and on a phone.
func TestFrontPage(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium", "script")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	desk, phone := pictureFile(t, "page.png"), pictureFile(t, "page-phone.png")
	t.Logf("\n%s", runScript(t, 10*time.Minute, nodeDir, "node", "frontpage.js", browser, crierBin, port, desk, phone))
	checkPicture(t, desk, 1280, 800)
	checkPicture(t, phone, 780, 1688)
}
