package live

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/crier-ws/crier/clients/js"
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
	script := string(js.Crier) + "\n{\n" + rest + "\n" + connectJS + "}\n" // In a block its names are its own.
	if !ok || strings.Contains(strings.ToLower(script), "</script") || strings.Contains(pageCSS, "</") {
		panic("live: page.js and page.css do not fit into the page")
	}
	document := strings.NewReplacer("/* page.css */", pageCSS, "/* page.js */", script).Replace(pageHTML)
	policy = fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; img-src data:; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", source(script), source(pageCSS))
	return []byte(document), policy
}

// source is a hash-source of Content Security Policy Level 3, section 2.3.1.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
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
