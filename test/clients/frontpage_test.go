package clients

import (
	"net"
	"os/exec"
	"path/filepath"
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
	desk := pictureFile(t, "page-desk-light.png")
	t.Logf("\n%s", runScript(t, 10*time.Minute, nodeDir, "node", "frontpage.js", browser, crierBin, port, filepath.Dir(desk)))
	checkPicture(t, desk, 1280, 800)
}
