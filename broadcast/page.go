package broadcast

import (
	"fmt"
	"net/http"
	"strings"
)

// Page is a document for browsers that open the server's address. It answers GET and HEAD requests that list
// text/html in Accept, do not ask for an upgrade or for events, and name a path that is served. Without it these
// requests are answered 426, as all others without an upgrade.
type Page struct {
	// HTML is the document, in UTF-8. HTML and Policy must fit in 16 KiB together, so that the answer always fits in
	// an empty socket buffer.
	HTML []byte

	// Policy is the document's Content-Security-Policy. It must not be empty.
	Policy string

	// Show reports whether the document answers r, whose body is empty. If it returns false, the answer is 426.
	// Nil shows it always. Show runs on a worker, for several connections concurrently.
	Show func(r *http.Request) bool
}

const maxPageBytes = 16 << 10

// validate returns what is wrong with p.
func (p *Page) validate() error {
	switch size := len(p.HTML) + len(p.Policy); {
	case len(p.HTML) == 0:
		return fmt.Errorf("broadcast: Config.Page.HTML is empty, want a document")
	case size > maxPageBytes:
		return fmt.Errorf("broadcast: Config.Page is %d bytes with its policy, want at most %d", size, maxPageBytes)
	case p.Policy == "" || strings.ContainsFunc(p.Policy, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("broadcast: Config.Page.Policy is %q, want a Content-Security-Policy in printable ASCII",
			p.Policy)
	}
	return nil
}

// pageAnswer is the answer with a Page. newPageAnswer makes it once.
type pageAnswer struct {
	head, body []byte
}

func newPageAnswer(p *Page) (a pageAnswer) {
	if p == nil {
		return a
	}
	// The document must not be framed, sniffed or kept, and its address must not leak: it may hold a token.
	a.head = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"+
		"Content-Security-Policy: %s\r\nX-Frame-Options: DENY\r\nX-Content-Type-Options: nosniff\r\n"+
		"Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n"+
		"Cache-Control: no-store\r\nConnection: close\r\n\r\n", len(p.HTML), p.Policy)
	a.body = p.HTML
	return a
}

// wantsPage reports whether c's request, which was parsed but not checked, is to be answered with the page.
func (c *Conn) wantsPage(req *request, head []byte) bool {
	page := c.shard().srv.cfg.Page
	if page == nil || !req.html || req.upgrade || req.events {
		return false
	}
	if string(req.method) != http.MethodGet && string(req.method) != http.MethodHead {
		return false
	}
	if page.Show == nil {
		return true
	}
	r, refusal := c.httpRequest(head)
	return refusal == nil && page.Show(r)
}

// sendPage answers with the page, and lingers as refuse does.
func (c *Conn) sendPage(req *request) {
	srv := c.shard().srv
	if srv.debug() {
		srv.cfg.Logger.Debug("page sent", "fd", c.fd, "remote", c.RemoteAddr())
	}
	if string(req.method) == http.MethodHead {
		c.linger(srv.page.head)
		return
	}
	c.linger(srv.page.head, srv.page.body)
}
