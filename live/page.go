package live

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/crier-ws/crier/clients/js"
	"github.com/crier-ws/crier/internal/webpage"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
	//go:embed page/connect.js
	connectJS string
)

// page is one document with its style and its scripts. policy is a Content-Security-Policy that allows no others.
var page, policy = assemble()

// imports is the first line of page.js. assemble replaces it by crier.js.
const imports = "import { Crier } from '../../clients/js/crier.js';\n"

// assemble returns the page and its policy.
func assemble() (page []byte, policy string) {
	rest, ok := strings.CutPrefix(pageJS, imports)
	if !ok {
		panic("live: page.js does not begin with the import of crier.js")
	}
	// The block keeps the names of the page apart from those of crier.js.
	return webpage.Assemble(pageHTML, pageCSS, string(js.Crier)+"\n{\n"+rest+"\n"+connectJS+"}\n")
}

// Page answers with the page. The page contains no data: it requests all data.
func (l *Live) Page(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(page) // An error means that the client has gone.
}
