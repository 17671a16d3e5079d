// Package webpage assembles a page into a single document. Style and script are part of the document, and its
// Content-Security-Policy allows only these two.
package webpage

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"strings"
)

// colors has the light and dark colors of all pages, as custom properties.
//
//go:embed colors.css
var colors string

// Assemble puts a style and a script where html has the comments /* page.css */ and /* page.js */, and returns the
// document and its policy. The style can use the custom properties of colors.css. The document may use images from
// data: URLs and connect to its own origin. Assemble panics if the parts do not fit together, because they are
// embedded in the program.
func Assemble(html, css, script string) (document []byte, policy string) {
	if strings.Contains(strings.ToLower(script), "</script") || strings.Contains(css, "</") {
		panic("webpage: the script or the style would end its element")
	}
	for _, comment := range []string{"/* page.css */", "/* page.js */"} {
		if strings.Count(html, comment) != 1 {
			panic("webpage: the document has no place for " + comment)
		}
	}
	css = colors + css
	document = []byte(strings.NewReplacer("/* page.css */", css, "/* page.js */", script).Replace(html))
	policy = fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; img-src data:; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", Source(script), Source(css))
	return document, policy
}

// Source returns the hash-source of an inline style or script, Content Security Policy Level 3, section 2.3.1.
func Source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
