package broadcast

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"slices"
)

// request is what the server needs of an HTTP request head. All slices are borrowed from the head, unless several
// header lines were joined. Owned by the worker.
type request struct {
	method, target []byte
	http10         bool

	hosts      int
	host       []byte
	upgrade    bool // Upgrade lists websocket.
	connection bool // Connection lists upgrade.
	body       bool // The request announces a body.
	keys       int  // How many header lines Sec-WebSocket-Key has; hosts, versions and origins count theirs.
	key        []byte
	versions   int
	version    []byte
	protocol   []byte // The first list of subprotocols.
	protocols  []byte // All lists of subprotocols.
	ids        bool   // Any of these lists has crier.v1.
	extensions []byte // All lists of extensions.
	origins    int
	origin     []byte
	wants      []byte // The method in Access-Control-Request-Method.
	forwarded  []byte // All lists of X-Forwarded-For.

	events      bool // Accept lists text/event-stream.
	html        bool // Accept lists text/html.
	page        bool // The answer is Config.Page.
	lastEventID []byte
}

// maxEmptyLines is how many empty lines may precede a request line. RFC 9112, section 2.2, asks servers to accept at
// least one.
const maxEmptyLines = 4

// emptyLines returns the length of the empty lines before the request line, in bytes.
func emptyLines(b []byte) (n int) {
	for n < maxEmptyLines*len(crlf) && bytes.HasPrefix(b[n:], crlf) {
		n += len(crlf)
	}
	return n
}

// endOfHead looks for the empty line that ends a head, given that b[:from] was searched before. It returns the head's
// length, or 0 if the head has not arrived whole. ok is false if a line ends without a carriage return: RFC 9112,
// section 2.2, lets a server refuse that, and a proxy in front might read it differently.
func endOfHead(b []byte, from int) (n int, ok bool) {
	for i := from; ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0, true
		}
		i += j
		if i == 0 || b[i-1] != '\r' {
			return 0, false
		}
		if i >= 3 && b[i-2] == '\n' {
			return i + 1, true
		}
		i++
	}
}

func badRequest(reason string) *Refusal { return &Refusal{http.StatusBadRequest, reason} }

// parse parses a whole head, more strictly than RFC 9112 requires: a head that two servers in a row might read
// differently is refused. head is borrowed, and must not change while r is used.
func (r *request) parse(head []byte) *Refusal {
	*r = request{}
	line, rest, _ := bytes.Cut(head, crlf)
	if refusal := r.requestLine(line); refusal != nil {
		return refusal
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, crlf)
		if len(line) == 0 {
			return nil
		}
		if refusal := r.field(line); refusal != nil {
			return refusal
		}
	}
	return badRequest("the request head does not end with an empty line")
}

// parseBegun parses the whole lines of a head that has not arrived whole, or is too long. That is enough to tell
// which kind of client is refused, but not to serve it.
func (r *request) parseBegun(b []byte) {
	lines := b[emptyLines(b) : bytes.LastIndexByte(b, '\n')+1]
	if refusal := r.parse(append(slices.Clip(lines), crlf...)); refusal != nil {
		*r = request{}
	}
}

var crlf = []byte("\r\n")

// requestLine: RFC 9112, section 3.
func (r *request) requestLine(line []byte) *Refusal {
	method, rest, ok1 := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !isToken(method) || len(target) == 0 {
		return badRequest("malformed request line, want: GET /path HTTP/1.1")
	}
	if slices.ContainsFunc(target, isNotVisible) {
		return malformedTarget(target)
	}
	digits, ok := bytes.CutPrefix(version, []byte("HTTP/"))
	if !ok || len(digits) != 3 || digits[1] != '.' || !isDigit(digits[0]) || !isDigit(digits[2]) {
		return badRequest("malformed HTTP version, want: HTTP/1.1")
	}
	if digits[0] != '1' {
		return &Refusal{http.StatusHTTPVersionNotSupported, "this server speaks HTTP/1.1"}
	}
	r.method, r.target, r.http10 = method, target, digits[2] == '0'
	return nil
}

// field: RFC 9112, section 5.
func (r *request) field(line []byte) *Refusal {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return badRequest("malformed header line, want: Name: value")
	}
	value = bytes.Trim(value, " \t")
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return badRequest("control character in a header")
		}
	}
	// Comparing the lengths first makes the long list of names cheap.
	is := func(s string) bool { return len(name) == len(s) && bytes.EqualFold(name, []byte(s)) }
	switch {
	case is("Host"):
		r.hosts++
		r.host = value
	case is("Upgrade"):
		r.upgrade = r.upgrade || listHas(value, "websocket")
	case is("Connection"):
		r.connection = r.connection || listHas(value, "upgrade")
	case is("Sec-WebSocket-Key"):
		r.keys++
		r.key = value
	case is("Sec-WebSocket-Version"):
		r.versions++
		r.version = value
	case is("Sec-WebSocket-Protocol"):
		if len(r.protocol) == 0 {
			r.protocol = value
		}
		r.protocols = joinLists(r.protocols, value)
		for item := range bytes.SplitSeq(value, []byte(",")) { // Their case matters.
			r.ids = r.ids || string(bytes.Trim(item, " \t")) == protocolIDs
		}
	case is("Sec-WebSocket-Extensions"):
		r.extensions = joinLists(r.extensions, value)
	case is("X-Forwarded-For"):
		r.forwarded = joinLists(r.forwarded, value)
	case is("Accept"):
		r.events = r.events || accepts(value, "text/event-stream")
		r.html = r.html || accepts(value, "text/html")
	case is("Last-Event-ID"):
		r.lastEventID = value
	case is("Origin"):
		r.origins++
		r.origin = value
	case is("Access-Control-Request-Method"):
		r.wants = value
	case is("Content-Length"):
		r.body = r.body || string(value) != "0"
	case is("Transfer-Encoding"):
		r.body = true
	}
	return nil
}

// checkRequest returns nil if the request is a WebSocket handshake (RFC 6455, section 4.2.1) or a request for events,
// and asks for path or, if below is set, for a path below it. Otherwise it returns the refusal. An empty path matches
// any path.
func (r *request) checkRequest(path string, below bool) *Refusal {
	switch {
	case string(r.method) != http.MethodGet && !r.page: // A page answers HEAD, too.
		return &Refusal{http.StatusMethodNotAllowed, "a WebSocket handshake is a GET request"}
	case r.hosts > 1 || r.hosts == 0 && !r.http10:
		return badRequest("want exactly one Host header")
	case !isHost(r.host):
		return badRequest("malformed Host header, want host or host:port")
	case r.body:
		return badRequest("a WebSocket handshake has no body")
	}
	switch p, ok := r.path(); {
	case !ok:
		return malformedTarget(r.target)
	case !serves(p, path, below):
		return &Refusal{http.StatusNotFound, "nothing is served under this path"}
	case r.page:
		return nil
	case !r.upgrade:
		return r.checkEvents()
	case r.http10:
		return badRequest("a WebSocket handshake needs HTTP/1.1 or higher")
	case !r.connection:
		return badRequest("want the header Connection: Upgrade")
	case r.versions == 0:
		return badRequest("want the header Sec-WebSocket-Version: 13")
	case r.versions > 1 || string(r.version) != "13":
		return &Refusal{http.StatusUpgradeRequired, "want the header Sec-WebSocket-Version: 13"}
	case r.keys != 1 || !isKey(r.key):
		return badRequest("want one Sec-WebSocket-Key header with 16 bytes in base64")
	}
	return nil
}

// isKey: RFC 6455, section 4.2.1, item 5.
func isKey(b []byte) bool {
	var raw [18]byte
	if len(b) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(raw[:], b)
	return err == nil && n == 16
}

// joinLists makes several lines one list, RFC 9110, section 5.3. The first line is borrowed from the head, which must
// not be written to.
func joinLists(list, more []byte) []byte {
	if list == nil {
		return slices.Clip(more)
	}
	return append(append(list, ", "...), more...)
}

// listHas reports whether a comma-separated list contains a token, ignoring case.
func listHas(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		item, list, _ = bytes.Cut(list, []byte(","))
		if bytes.EqualFold(bytes.Trim(item, " \t"), []byte(token)) {
			return true
		}
	}
	return false
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// isToken: RFC 9110, section 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// isNotVisible reports whether c is anything but a visible ASCII character.
func isNotVisible(c byte) bool { return c <= ' ' || c >= 0x7f }
