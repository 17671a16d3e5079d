package clients

import "testing"

// TestNodeCompressed is node/compress.js: windows of all sizes, by zlib.
func TestNodeCompressed(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	tgt := startCrier(t, "--compress")
	t.Logf("\n%s", runScript(t, scriptTimeout, nodeDir, "node", "compress.js", tgt.url))
}

// TestPython is python/client.py, with crier as it is and with compression.
func TestPython(t *testing.T) {
	t.Parallel()
	needCrier(t)
	python := needPython(t)
	for _, flags := range [][]string{nil, {"--compress"}, {"--compress", "--compress-min", "0"}} {
		tgt := startCrier(t, flags...)
		t.Logf("%v\n%s", flags, runScript(t, scriptTimeout, "python", python, "client.py", tgt.url))
	}
}

// TestPythonResume is python/resume.py: ids, and coming back, with compression and without.
func TestPythonResume(t *testing.T) {
	t.Parallel()
	needCrier(t)
	python := needPython(t)
	for _, flags := range [][]string{{"--channels"}, {"--channels", "--compress", "--compress-min", "100"}} {
		tgt := startCrier(t, flags...)
		t.Logf("%v\n%s", flags, runScript(t, scriptTimeout, "python", python, "resume.py", tgt.url+"room"))
	}
}

// needCrier skips t if another server than crier is the target.
func needCrier(t *testing.T) {
	t.Helper()
	if crierBin == "" {
		t.Skip("this is crier's own, and crier is not the target")
	}
}
