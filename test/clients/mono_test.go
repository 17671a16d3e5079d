package clients

import "testing"

// TestMono is mono/Client.cs, .NET's ClientWebSocket, against the server under test.
func TestMono(t *testing.T) {
	t.Parallel()
	exe := needMono(t)
	tgt := startTarget(t)
	t.Logf("\n%s", runScript(t, scriptTimeout, "", "mono", exe, "suite", tgt.url, tgt.binary()))
}
