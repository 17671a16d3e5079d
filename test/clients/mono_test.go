package clients

import "testing"

// monoClient is the suite in C#.
const monoClient = "mono/Client.cs"

// TestMono is that, .NET's ClientWebSocket, against the server under test.
func TestMono(t *testing.T) {
	t.Parallel()
	exe := needMono(t, monoClient)
	tgt := startTarget(t)
	t.Logf("\n%s", runScript(t, scriptTimeout, "", "mono", exe, "suite", tgt.url, tgt.binary()))
}
