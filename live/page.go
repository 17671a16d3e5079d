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

// page is one document with its style and its scripts, and policy allows those and no others.
var page, policy = assemble()

// imports is the first line of page.js, in whose place crier.js comes.
const imports = "import { Crier } from '../../clients/js/crier.js';\n"

func assemble() (page []byte, policy string) {
	rest, ok := strings.CutPrefix(pageJS, imports)
	if !ok {
		panic("live: page.js does not begin with the import of crier.js")
	}
	// In a block its names are its own.
	return webpage.Assemble(pageHTML, pageCSS, string(js.Crier)+"\n{\n"+rest+"\n"+connectJS+"}\n")
}

// Page answers with the page. There is nothing of the server in it: what it shows it asks for.
func (l *Live) Page(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(page) // Who has gone is owed no answer.
}
