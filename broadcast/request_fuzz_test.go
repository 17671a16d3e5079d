package broadcast

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzRequest: no bytes of a peer make the parser panic, and net/http accepts and understands in the same way what
// the parser accepts.
func FuzzRequest(f *testing.F) {
	for _, head := range []string{
		handshakeHead, headPlus(), headPlus("Connection: keep-alive", "Content-Length: 0"),
		headWith(baseLine, "GET http://host:80/a?b HTTP/1.1"),
		headWith(baseLine, "GET /%20/%zz HTTP/1.1"),
		headWith(baseLine, "GET a:b://c/d HTTP/1.1"),
		headWith(connLine, "Connection: x, ,upgrade"),
		headPlus("Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: x; y=\"z\""),
		headPlus("X: a", " folded"), "GET / HTTP/1.1\n\n", "\r\n\r\n", "\x16\x03\x01\x00\xa5\x01",
	} {
		f.Add([]byte(head))
	}
	var h handshaker
	h.init()
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := endOfHead(b, 0)
		if !ok || n == 0 {
			return
		}
		head := b[:n]
		before := bytes.Clone(head)
		if h.req.parse(head) != nil || h.req.checkRequest("", false) != nil {
			return
		}
		compareRequest(t, &h.req, head)
		answer, err := h.upgradeAnswer(0, false)
		if err == nil && (!bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) || bytes.Count(answer, []byte("\r\n\r\n")) != 1) {
			t.Errorf("head %q: got answer %q", head, answer)
		}
		if !bytes.Equal(head, before) {
			t.Errorf("head %q was changed to %q", before, head)
		}
	})
}

// compareRequest compares an accepted request with what net/http makes of it.
func compareRequest(t *testing.T, r *request, head []byte) {
	t.Helper()
	std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		t.Errorf("head %q: accepted, net/http says %v", head, err)
		return
	}
	if string(r.method) != std.Method {
		t.Errorf("head %q: got method %q, want %q", head, r.method, std.Method)
	}
	p, _ := r.path()
	path, err := url.PathUnescape(string(p))
	if want := std.URL.Path; err != nil || path != want && (path != "/" || want != "") {
		t.Errorf("head %q: got path %q, want %q", head, path, want)
	}
	if std.ContentLength != 0 || len(std.TransferEncoding) > 0 {
		t.Errorf("head %q: accepted, but has a body", head)
	}
	if got, want := string(r.key), std.Header.Get("Sec-WebSocket-Key"); got != want {
		t.Errorf("head %q: got key %q, want %q", head, got, want)
	}
	if got := std.Header.Values("Sec-WebSocket-Version"); len(got) != 1 || got[0] != "13" {
		t.Errorf("head %q: got version %q, want 13", head, got)
	}
	for name, token := range map[string]string{"Upgrade": "websocket", "Connection": "upgrade"} {
		if list := strings.Join(std.Header.Values(name), ","); !strings.Contains(strings.ToLower(list), token) {
			t.Errorf("head %q: got %s %q, want %s in it", head, name, list, token)
		}
	}
	// The Host header is what net/http takes, unless the target has one.
	if std.URL.Host == "" && std.Host != hostOf(head) {
		t.Errorf("head %q: got host %q, want %q", head, hostOf(head), std.Host)
	}
}

// hostOf is the only Host header of a head that was accepted.
func hostOf(head []byte) string {
	for line := range bytes.SplitSeq(head, crlf) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Host")) {
			return string(bytes.Trim(value, " \t"))
		}
	}
	return ""
}
