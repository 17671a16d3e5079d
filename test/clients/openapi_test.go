package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openapiDir has what uses the clients that are made of admin/openapi.json: a module, and a package of npm.
var openapiDir = filepath.Join("testdata", "openapi")

const (
	openapiToken = "a-token-of-the-test"
	// generateTimeout has room for compiling the generator, on a machine that does other things, too.
	generateTimeout = 5 * time.Minute
)

// openapiFile returns the path of the document.
func openapiFile(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "admin", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// openapiServer starts a crier with channels and a token, and returns the URL of its --admin.
func openapiServer(t *testing.T) (url string) {
	t.Helper()
	file, admin := filepath.Join(t.TempDir(), "token"), freeAddr(t)
	if err := os.WriteFile(file, []byte(openapiToken), 0o600); err != nil {
		t.Fatal(err)
	}
	tgt := startCrier(t, "--channels", "--admin", admin, "--admin-token-file", file)
	tgt.waitListening(t, admin)
	return "http://" + admin
}

// nodeTool returns the path of a program of a package of npm.
func nodeTool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(nodeDir, "node_modules", ".bin", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOpenAPILint: two linters find nothing, not even what they would only warn of.
func TestOpenAPILint(t *testing.T) {
	needNode(t)
	t.Setenv("REDOCLY_TELEMETRY", "off")
	t.Setenv("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
	dir := t.TempDir()
	ruleset := filepath.Join(dir, ".spectral.yaml")
	if err := os.WriteFile(ruleset, []byte(`extends: ["spectral:oas"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	runScript(t, generateTimeout, dir, nodeTool(t, "redocly"), "lint", "--extends", "recommended-strict", openapiFile(t))
	runScript(t, generateTimeout, dir, nodeTool(t, "spectral"), "lint", "--fail-severity", "hint", "--ruleset", ruleset, openapiFile(t))
}

// TestOpenAPITypeScript: a client made by openapi-typescript compiles and works.
func TestOpenAPITypeScript(t *testing.T) {
	t.Parallel()
	needNode(t)
	dir := openapiCopy(t, "client.ts", "globals.d.ts", "tsconfig.json", "package.json")
	modules, err := filepath.Abs(filepath.Join(nodeDir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	runScript(t, generateTimeout, dir, nodeTool(t, "openapi-typescript"), openapiFile(t), "--output", "api.d.ts")
	runScript(t, generateTimeout, dir, nodeTool(t, "tsc"), "--project", "tsconfig.json")
	runScript(t, generateTimeout, dir, "node", "client.js", openapiServer(t), openapiToken)
}

// TestOpenAPIGo: a client made by oapi-codegen compiles and works.
func TestOpenAPIGo(t *testing.T) {
	t.Parallel()
	dir := openapiCopy(t, "main.go", "go.mod", "go.sum")
	if err := os.Mkdir(filepath.Join(dir, "api"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join("api", "api.go")
	runScript(t, generateTimeout, dir, "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "api", "-o", out, openapiFile(t))
	if b, err := os.ReadFile(filepath.Join(dir, out)); err != nil || !strings.Contains(string(b), "DO NOT EDIT") {
		t.Fatalf("it made %.100q, %v", b, err)
	}
	runScript(t, generateTimeout, dir, "go", "run", ".", openapiServer(t), openapiToken)
}

// openapiCopy copies files of openapiDir to a new directory.
func openapiCopy(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(openapiDir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
