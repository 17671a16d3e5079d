// Package frontpage has the page that crier shows to a browser that opens crier's address. A message that is sent in
// one tab appears in a second tab. The package does not know sockets and flags.
package frontpage

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/webpage"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

// Config describes the server for the page, and selects the requests that get the page.
type Config struct {
	Path        string `json:"path"`        // As in broadcast.Config.
	Channels    bool   `json:"channels"`    // As in broadcast.Config.
	ReceiveOnly bool   `json:"receiveOnly"` // As in broadcast.Config.

	// Show is as in broadcast.Page.
	Show func(r *http.Request) bool `json:"-"`
}

// New returns the page.
func New(cfg Config) *broadcast.Page {
	server, err := json.Marshal(cfg)
	if err != nil {
		panic(fmt.Sprintf("frontpage: %v", err)) // All fields have a form in JSON.
	}
	document, policy := webpage.Assemble(pageHTML, pageCSS, pageJS)
	document = []byte(strings.Replace(string(document), "{{server}}", html.EscapeString(string(server)), 1))
	return &broadcast.Page{HTML: document, Policy: policy, Show: cfg.Show}
}
