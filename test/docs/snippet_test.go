package docs

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is what a piece of Go stands in: what it takes for granted, and then makes use of.
const program = `package snippet

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/auth"
	"github.com/crier-ws/crier/broadcast"
	crier "github.com/crier-ws/crier/clients/go"
	"github.com/crier-ws/crier/metrics"
)

var (
	ctx  = context.Background()
	keys *auth.Keys
	_    http.Handler
	_    admin.Config
	_    broadcast.Config
	_    crier.Config
	_    metrics.Config
	_    = fmt.Println
	_    = log.Println
)

func snippet() {
%s
%s}
`

// compile has Go compile a piece of a program.
func compile(t *testing.T, text string) {
	t.Helper()
	source := fmt.Sprintf(program, text, "")
	file, err := parser.ParseFile(token.NewFileSet(), "snippet.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	used := "" // So that nothing is declared in vain.
	ast.Inspect(file, func(n ast.Node) bool {
		if define, ok := n.(*ast.AssignStmt); ok && define.Tok == token.DEFINE {
			for _, name := range define.Lhs {
				used += "\t_ = " + name.(*ast.Ident).Name + "\n"
			}
		}
		return true
	})
	// It is in the module as far as Go sees, and in a directory of its own.
	dir, err := filepath.Abs(filepath.Join(root, "test", "docs", "snippet"))
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "snippet.go")
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	places, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(dir, "snippet.go"): own}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{own: fmt.Sprintf(program, text, used), overlay: string(places)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "./test/docs/snippet")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, strings.ReplaceAll(string(out), own, "snippet.go"))
	}
}
