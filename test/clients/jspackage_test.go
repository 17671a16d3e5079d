package clients

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// jsDir is the package, as seen from here and from nodeDir.
var jsDir = filepath.Join("..", "..", "clients", "js")

// TestJSSize: minified and compressed it takes less than 4 KiB.
func TestJSSize(t *testing.T) {
	t.Parallel()
	needNode(t)
	source, err := filepath.Abs(filepath.Join(jsDir, "crier.js"))
	if err != nil {
		t.Fatal(err)
	}
	minified := runScript(t, scriptTimeout, nodeDir, filepath.Join("node_modules", ".bin", "esbuild"), "--minify", "--format=esm", source)
	if !strings.Contains(minified, "crier.v1") {
		t.Fatalf("this is not the client: %.100q", minified)
	}
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(minified)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := compressed.Len(); n >= 4096 {
		t.Errorf("the client has %d bytes, want less than 4096", n)
	}
	t.Logf("%d bytes minified, %d compressed", len(minified), compressed.Len())
}

// TestJSTypes: tsc takes what users write, node/usage.ts, and refuses what they must not.
func TestJSTypes(t *testing.T) {
	t.Parallel()
	needNode(t)
	runScript(t, scriptTimeout, nodeDir, filepath.Join("node_modules", ".bin", "tsc"), "--project", "tsconfig.json")
}

// TestJSPackage: it needs nothing, has all the files that it names, and is found by its name.
func TestJSPackage(t *testing.T) {
	t.Parallel()
	needTools(t, "node")
	b, err := os.ReadFile(filepath.Join(jsDir, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct {
		Name, Type, Types string
		Files             []string
		Exports           map[string]map[string]string
		Dependencies      map[string]string
		Peers             map[string]string `json:"peerDependencies"`
		SideEffects       *bool
	}
	if err := json.Unmarshal(b, &pkg); err != nil {
		t.Fatal(err)
	}
	if len(pkg.Dependencies)+len(pkg.Peers) > 0 || pkg.Type != "module" || pkg.SideEffects == nil || *pkg.SideEffects {
		t.Errorf("got %+v, want a module without dependencies and side effects", pkg)
	}
	files := append(pkg.Files, pkg.Types)
	for _, file := range pkg.Exports["."] {
		files = append(files, file)
	}
	for _, file := range files {
		if _, err := os.Stat(filepath.Join(jsDir, file)); err != nil {
			t.Error(err)
		}
	}
	cmd := exec.Command("node", "--input-type=module", "-e", `import { Crier } from '`+pkg.Name+`'; console.log(typeof Crier)`)
	cmd.Dir = jsDir
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "function" {
		t.Errorf("importing %s: %v: %s", pkg.Name, err, out)
	}
}

// TestJSMissing: where the platform lacks what a client needs, the constructor says so, and what to do.
func TestJSMissing(t *testing.T) {
	t.Parallel()
	needTools(t, "node")
	script := func(setup, options string) string {
		return setup + `
			import('./crier.js').then(({ Crier }) => {
				const crier = new Crier('ws://127.0.0.1:1', ` + options + `);
				crier.close();
				console.log('made');
			}).catch((err) => console.log(err.name, err.message));`
	}
	const none, some = "delete globalThis.WebSocket; delete globalThis.fetch;", "globalThis.WebSocket = class {}; globalThis.fetch = () => {};"
	for _, tt := range []struct {
		name, setup, options string
		want                 []string
	}{
		{"no WebSocket", none, "{}", []string{"TypeError crier: there is no WebSocket here", "Node 22", "--experimental-websocket", "option WebSocket", "transport: 'events'"}},
		{"no WebSocket, which is asked for", none, "{ transport: 'websocket' }", []string{"TypeError crier: there is no WebSocket here"}},
		{"an option that is not set", none, "{ WebSocket: undefined }", []string{"TypeError crier: there is no WebSocket here"}},
		{"no fetch for events", none, "{ transport: 'events' }", []string{"TypeError crier: there is no fetch here", "option fetch"}},
		{"events without a WebSocket", none, "{ transport: 'events', fetch: () => {} }", []string{"made"}},
		{"a WebSocket as an option", none, "{ WebSocket: class { close() {} } }", []string{"made"}},
		{"all there", some, "{}", []string{"made"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("node", "-e", script(tt.setup, tt.options))
			cmd.Dir = jsDir
			out, err := cmd.CombinedOutput()
			for _, want := range tt.want {
				if err != nil || !strings.Contains(string(out), want) {
					t.Errorf("got %v, %s, want %q", err, out, want)
				}
			}
		})
	}
}

// TestJSFinal is node/final.mjs: the client reconnects or gives up, as docs/protocol.md says.
func TestJSFinal(t *testing.T) {
	t.Parallel()
	needTools(t, "node")
	t.Logf("\n%s", runScript(t, scriptTimeout, "node", "node", "final.mjs"))
}

// TestJSDirect is node/direct.mjs: the event direct, of messages that a program sends to one connection.
func TestJSDirect(t *testing.T) {
	t.Parallel()
	needNode(t)
	bin := filepath.Join(t.TempDir(), "send")
	runScript(t, buildTimeout, filepath.Join("..", ".."), "go", "build", "-o", bin, "./examples/embed/send")
	addr := freeAddr(t)
	(&target{process: startProcess(t, "", bin, "-listen", addr)}).waitListening(t, addr)
	args := append(experimental(t), "direct.mjs", "ws://"+addr)
	t.Logf("\n%s", runScript(t, scriptTimeout, "node", "node", args...))
}
