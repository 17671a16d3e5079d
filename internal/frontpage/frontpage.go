// Package frontpage has the page that crier shows to a browser that opens its address: say something, and hear it
// in a second tab. It knows requests and nothing of sockets or flags.
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

// Config is what the page says of the server, and who gets it.
type Config struct {
	Path        string `json:"path"`        // As in broadcast.Config.
	Channels    bool   `json:"channels"`    // As in broadcast.Config.
	ReceiveOnly bool   `json:"receiveOnly"` // As in broadcast.Config.

	// Show is broadcast.Page's.
	Show func(r *http.Request) bool `json:"-"`
}

// New returns the page.
func New(cfg Config) *broadcast.Page {
	server, err := json.Marshal(cfg)
	if err != nil {
		panic(fmt.Sprintf("frontpage: %v", err)) // There is nothing in it that JSON does not have.
	}
	document, policy := webpage.Assemble(pageHTML, pageCSS, pageJS)
	document = []byte(strings.Replace(string(document), "{{server}}", html.EscapeString(string(server)), 1))
	return &broadcast.Page{HTML: document, Policy: policy, Show: cfg.Show}
}
