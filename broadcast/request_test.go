package broadcast

import (
	"fmt"
	"strings"
	"testing"
)

const (
	baseLine = "GET /ws HTTP/1.1"
	hostLine = "Host: test"
	upgrLine = "Upgrade: websocket"
	connLine = "Connection: Upgrade"
	keyLine  = "Sec-WebSocket-Key: " + clientKey
	versLine = "Sec-WebSocket-Version: 13"
)

// headOf joins lines to a request head.
func headOf(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// headWith returns a valid head in which the line old is replaced by new; if new is "", the line is left out. Further
// lines follow at the end.
func headWith(old, new string, further ...string) string {
	var lines []string
	for _, line := range []string{baseLine, hostLine, upgrLine, connLine, keyLine, versLine} {
		if line == old {
			line = new
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return headOf(append(lines, further...)...)
}

func headPlus(further ...string) string { return headWith("none", "", further...) }

// judge is what becomes of a head: the status of the refusal, or 101. A head
// must pass both the server's checks and gobwas/ws's.
func judge(head []byte, path string) (status int, reason string) {
	var h handshaker
	h.init()
	refusal := h.req.parse(head)
	if refusal == nil {
		refusal = h.req.checkRequest(path, false)
	}
	if refusal != nil {
		return refusal.Status, refusal.Reason
	}
	answer, err := h.upgradeAnswer(0, false)
	if err != nil {
		return 400, "ws.Upgrader: " + err.Error()
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") || !strings.HasSuffix(string(answer), "\r\n\r\n") {
		return 0, string(answer)
	}
	return 101, ""
}

type requestCase struct {
	name string
	head string
	want int
	says string // Part of the reason.
}

func runRequests(t *testing.T, path string, tests []requestCase) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, reason := judge([]byte(tt.head), path)
			if got != tt.want || !strings.Contains(reason, tt.says) {
				t.Errorf("got %d %q, want %d ...%s...", got, reason, tt.want, tt.says)
			}
		})
	}
}

func TestRequestLine(t *testing.T) {
	line := func(l string) string { return headWith(baseLine, l) }
	runRequests(t, "/ws", []requestCase{
		{"good", line("GET /ws HTTP/1.1"), 101, ""},
		{"query", line("GET /ws?a=b HTTP/1.1"), 101, ""},
		{"absolute form", line("GET http://test/ws HTTP/1.1"), 101, ""},
		{"absolute form, port and query", line("GET https://test:1/ws?x HTTP/1.1"), 101, ""},
		{"absolute form, other path", line("GET http://test/other HTTP/1.1"), 404, ""},
		{"absolute form, no path", line("GET http://test HTTP/1.1"), 404, ""},
		{"absolute form, query with a path", line("GET http://test?/ws HTTP/1.1"), 404, ""},
		{"query that looks absolute", line("GET /ws?u=http://x/y HTTP/1.1"), 101, ""},
		{"path below", line("GET /ws/ HTTP/1.1"), 404, ""},
		{"path other case", line("GET /WS HTTP/1.1"), 404, ""},
		{"asterisk", line("GET * HTTP/1.1"), 400, "target"},
		{"authority", line("GET test:80 HTTP/1.1"), 400, "target"},
		{"POST", line("POST /ws HTTP/1.1"), 405, ""},
		{"HEAD", line("HEAD /ws HTTP/1.1"), 405, ""},
		{"get", line("get /ws HTTP/1.1"), 405, ""},
		{"CONNECT", line("CONNECT test:80 HTTP/1.1"), 405, ""},
		{"HTTP/1.0", line("GET /ws HTTP/1.0"), 400, "HTTP/1.1"},
		{"HTTP/1.2", line("GET /ws HTTP/1.2"), 101, ""},
		{"HTTP/2.0", line("GET /ws HTTP/2.0"), 505, ""},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", 505, ""},
		{"HTTP/0.9", line("GET /ws HTTP/0.9"), 505, ""},
		{"HTTP/1.10", line("GET /ws HTTP/1.10"), 400, "version"},
		{"HTTP/1", line("GET /ws HTTP/1"), 400, "version"},
		{"http/1.1", line("GET /ws http/1.1"), 400, "version"},
		{"HTTP/+1.1", line("GET /ws HTTP/+.1"), 400, "version"},
		{"no version", line("GET /ws"), 400, "request line"},
		{"method only", line("GET"), 400, "request line"},
		{"no method", line(" /ws HTTP/1.1"), 400, "request line"},
		{"no target", line("GET  HTTP/1.1"), 400, "request line"},
		{"two spaces", line("GET  /ws HTTP/1.1"), 400, ""},
		{"space in target", line("GET /w s HTTP/1.1"), 400, "version"},
		{"space at the end", line("GET /ws HTTP/1.1 "), 400, "version"},
		{"tabs", line("GET\t/ws\tHTTP/1.1"), 400, "request line"},
		{"NUL in target", line("GET /w\x00s HTTP/1.1"), 400, "byte 3 is 0x00"},
		{"CR in target", line("GET /w\rs HTTP/1.1"), 400, "byte 3 is 0x0d"},
		{"DEL in target", line("GET /w\x7fs HTTP/1.1"), 400, "byte 3 is 0x7f"},
		{"not ASCII in target", line("GET /w\xc3\xa9s HTTP/1.1"), 400, "byte 3 is 0xc3, want printable ASCII without spaces; write it as %C3"},
		{"not ASCII in the query", line("GET /ws?\xfc HTTP/1.1"), 400, "byte 5 is 0xfc"},
		{"method no token", line("G(T /ws HTTP/1.1"), 400, "request line"},
		{"empty line first", "\r\n" + line("GET /ws HTTP/1.1"), 400, "request line"},
		{"nothing", "\r\n\r\n", 400, "request line"},
	})
	runRequests(t, "", []requestCase{
		{"any path", line("GET /what/ever HTTP/1.1"), 101, ""},
		{"any path, none", line("GET http://test HTTP/1.1"), 101, ""},
		{"any path, asterisk", line("GET * HTTP/1.1"), 400, "want a path that starts with /"},
		{"any path, query alone", line("GET ?a HTTP/1.1"), 400, "target"},
	})
}

// TestRequestTarget: a target that net/http does not accept is not accepted.
func TestRequestTarget(t *testing.T) {
	line := func(target string) string { return headWith(baseLine, "GET "+target+" HTTP/1.1") }
	runRequests(t, "", []requestCase{
		{"escape", line("/a%20b"), 101, ""},
		{"escape in the query is nobody's business", line("/a?%zz"), 101, ""},
		{"bad escape", line("/a%zz"), 400, "byte 3 is a percent sign without two hexadecimal digits after it; write %25 for a percent sign"},
		{"escape cut", line("/%4"), 400, "byte 2 is a percent sign"},
		{"percent sign at the end", line("/100%"), 400, "byte 5 is a percent sign"},
		{"bad escape, absolute form", line("http://test/100%"), 400, "byte 16 is a percent sign"},
		{"opaque", line("a:b://c/d"), 400, "target"},
		{"no scheme", line("://c/d"), 400, "target"},
		{"bad scheme", line("1a://c/d"), 400, "target"},
		{"bad host", line("http://a#b/d"), 400, "target"},
		{"bad port", line("http://a:b/d"), 400, "target"},
		{"no host", line("http:///d"), 400, "target"},
		{"fragment", line("/a#b"), 400, "byte 3 is a #, which starts a fragment; remove the fragment, or write %23 for a #"},
		{"fragment in the query", line("/a?b#c"), 400, "byte 5 is a #"},
		{"fragment, absolute form", line("http://test/a#b"), 400, "byte 14 is a #"},
		{"user", line("http://user:pw@test/a"), 400, "target"},
		{"port too large", line("http://test:65536/a"), 400, "target"},
		{"another protocol", line("ftp://test/a"), 400, "target"},
		{"ws", line("ws://test/a"), 101, ""},
		{"what browsers send in queries", line("/a?b={}|^`'[]"), 101, ""},
	})
}

func TestRequestHeaders(t *testing.T) {
	runRequests(t, "/ws", []requestCase{
		{"no Host", headWith(hostLine, ""), 400, "Host"},
		{"two Hosts", headPlus("Host: other"), 400, "Host"},
		{"two same Hosts", headPlus(hostLine), 400, "Host"},
		{"empty Host", headWith(hostLine, "Host:"), 101, ""},
		{"Host with a port", headWith(hostLine, "Host: test:8080"), 101, ""},
		{"Host with the last port", headWith(hostLine, "Host: test:65535"), 101, ""},
		{"Host with an empty port", headWith(hostLine, "Host: test:"), 101, ""},
		{"Host with an underscore", headWith(hostLine, "Host: my_host"), 101, ""},
		{"Host IPv4", headWith(hostLine, "Host: 127.0.0.1:1"), 101, ""},
		{"Host IPv6", headWith(hostLine, "Host: [::1]"), 101, ""},
		{"Host IPv6 and port", headWith(hostLine, "Host: [::1]:80"), 101, ""},
		{"Host IPv6 without brackets", headWith(hostLine, "Host: ::1"), 400, "Host"},
		{"Host IPv6 cut", headWith(hostLine, "Host: [::1"), 400, "Host"},
		{"Host IPv4 in brackets", headWith(hostLine, "Host: [127.0.0.1]"), 400, "Host"},
		{"Host with a blank", headWith(hostLine, "Host: a b"), 400, "Host"},
		{"Host with a path", headWith(hostLine, "Host: a/b"), 400, "Host"},
		{"Host with a user", headWith(hostLine, "Host: user@host"), 400, "Host"},
		{"Host with a quote", headWith(hostLine, "Host: a\"b"), 400, "Host"},
		{"Host not ASCII", headWith(hostLine, "Host: \x80\xff"), 400, "Host"},
		{"Host port no number", headWith(hostLine, "Host: host:port"), 400, "Host"},
		{"Host port signed", headWith(hostLine, "Host: host:+1"), 400, "Host"},
		{"Host port too large", headWith(hostLine, "Host: host:65536"), 400, "Host"},
		{"no Upgrade", headWith(upgrLine, ""), 426, "Upgrade: websocket"},
		{"Upgrade to another", headWith(upgrLine, "Upgrade: h2c"), 426, ""},
		{"Upgrade prefix", headWith(upgrLine, "Upgrade: websocket2"), 426, ""},
		{"Upgrade in another case", headWith(upgrLine, "UPGRADE: WebSocket"), 101, ""},
		{"no Connection", headWith(connLine, ""), 400, "Connection"},
		{"Connection close", headWith(connLine, "Connection: close"), 400, "Connection"},
		{"Connection list", headWith(connLine, "Connection: keep-alive, Upgrade"), 101, ""},
		{"Connection list, other order", headWith(connLine, "connection: upgrade,keep-alive"), 101, ""},
		{"Connection part of a word", headWith(connLine, "Connection: xupgrade, upgrades"), 400, "Connection"},
		{"no version", headWith(versLine, ""), 400, "Sec-WebSocket-Version"},
		{"version 8", headWith(versLine, "Sec-WebSocket-Version: 8"), 426, "13"},
		{"version 013", headWith(versLine, "Sec-WebSocket-Version: 013"), 426, "13"},
		{"version list", headWith(versLine, "Sec-WebSocket-Version: 13, 8"), 426, "13"},
		{"version twice", headPlus(versLine), 426, "13"},
		{"version empty", headWith(versLine, "Sec-WebSocket-Version:"), 426, "13"},
		{"no key", headWith(keyLine, ""), 400, "Key"},
		{"key twice", headPlus(keyLine), 400, "Key"},
		{"key empty", headWith(keyLine, "Sec-WebSocket-Key:"), 400, "Key"},
		{"key too short", headWith(keyLine, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), 400, "Key"},
		{"key of 17 bytes", headWith(keyLine, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZXg="), 400, "Key"},
		{"key of 18 bytes", headWith(keyLine, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZXh4"), 400, "Key"},
		{"key not base64", headWith(keyLine, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!=="), 400, "Key"},
		{"key with blanks around", headWith(keyLine, "Sec-WebSocket-Key: \t"+clientKey+" \t"), 101, ""},
		{"key in another case", headWith(keyLine, "sec-websocket-KEY:"+clientKey), 101, ""},
		{"no body", headPlus("Content-Length: 0"), 101, ""},
		{"body", headPlus("Content-Length: 1"), 400, "body"},
		{"body of no number", headPlus("Content-Length: x"), 400, "body"},
		{"two lengths", headPlus("Content-Length: 0", "Content-Length: 5"), 400, "body"},
		{"two lengths, other order", headPlus("Content-Length: 5", "Content-Length: 0"), 400, "body"},
		{"chunked", headPlus("Transfer-Encoding: chunked"), 400, "body"},
		{"identity", headPlus("transfer-encoding: identity"), 400, "body"},
		{"protocols", headPlus("Sec-WebSocket-Protocol: a, b"), 101, ""},
		{"malformed protocols", headPlus("Sec-WebSocket-Protocol: [a"), 400, ""},
		{"extensions", headPlus("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101, ""},
		{"obs-text", headPlus("X-Name: J\xf6rg"), 101, ""},
		{"names like ours", headPlus("Host2: x", "Hos: y", "XHost: z", "Content-Lengt: 7"), 101, ""},
	})
}

// TestRequestConnectionList: a list may be in several lines and have empty elements (RFC 9110, sections 5.3 and
// 5.6.1).
func TestRequestConnectionList(t *testing.T) {
	runRequests(t, "/ws", []requestCase{
		{"twice, first says it", headPlus("Connection: keep-alive"), 101, ""},
		{"twice, second says it", headWith(connLine, "Connection: keep-alive", connLine), 101, ""},
		{"blanks and empty elements", headWith(connLine, "Connection: , \tUPGRADE\t ,"), 101, ""},
	})
}

func TestRequestSyntax(t *testing.T) {
	runRequests(t, "/ws", []requestCase{
		{"folded", headPlus("X-Long: a", " b"), 400, "header line"},
		{"folded by a tab", headPlus("X-Long: a", "\tb"), 400, "header line"},
		{"folded first", headWith(hostLine, " "+hostLine), 400, "header line"},
		{"no colon", headPlus("X-Nothing"), 400, "header line"},
		{"no name", headPlus(": x"), 400, "header line"},
		{"space before colon", headPlus("Host : other"), 400, "header line"},
		{"space in name", headPlus("X Y: z"), 400, "header line"},
		{"NUL in name", headPlus("X\x00Y: z"), 400, "header line"},
		{"CR in name", headPlus("X\rY: z"), 400, "header line"},
		{"not ASCII in name", headPlus("X\xe9: z"), 400, "header line"},
		{"NUL in value", headPlus("X: a\x00b"), 400, "control character"},
		{"CR in value", headPlus("X: a\rHost: b"), 400, "control character"},
		{"CR at the end of a value", headPlus("X: a\r"), 400, "control character"},
		{"DEL in value", headPlus("X: a\x7fb"), 400, "control character"},
		{"ESC in value", headPlus("X: \x1b[2J"), 400, "control character"},
		{"tab in value", headPlus("X: a\tb"), 101, ""},
		{"empty value", headPlus("X:"), 101, ""},
		{"no header", headOf("GET /ws HTTP/1.1"), 400, "Host"},
		{"not ended", strings.TrimSuffix(headPlus(), "\r\n"), 400, "empty line"},
	})
}

// TestIsToken: RFC 9110, section 5.6.2, by the letter.
func TestIsToken(t *testing.T) {
	const tchar = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for c := range 256 {
		b := []byte{'a', byte(c)}
		if got, want := isToken(b), strings.IndexByte(tchar, byte(c)) >= 0; got != want {
			t.Errorf("%q: got %t, want %t", b, got, want)
		}
	}
	if isToken(nil) {
		t.Error("nothing: got true, want false")
	}
}

func TestEndOfHead(t *testing.T) {
	tests := []struct {
		name string
		text string
		n    int
		ok   bool
	}{
		{"nothing", "", 0, true},
		{"one line", "GET / HTTP/1.1\r\n", 0, true},
		{"whole", "GET / HTTP/1.1\r\n\r\n", 18, true},
		{"with headers", "G\r\nA: b\r\nC: d\r\n\r\n", 17, true},
		{"more behind", "G\r\n\r\nmore\r\n\r\n", 5, true},
		{"bare LF behind the end", "G\r\n\r\n\n\n", 5, true},
		{"ends in CR", "G\r\nA: b\r\n\r", 0, true},
		{"empty line only", "\r\n\r\n", 4, true},
		{"bare LF", "G\nA: b\r\n\r\n", 0, false},
		{"bare LF first", "\nG\r\n\r\n", 0, false},
		{"bare LF later", "G\r\nA: b\nC: d\r\n\r\n", 0, false},
		{"LF LF", "G\r\nA: b\r\n\n", 0, false},
		{"LF CR LF", "G\n\r\n", 0, false},
		{"CR CR LF", "G\r\nA: b\r\r\n\r\n", 12, true},
		{"CR alone", "G\rA\r\r", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := []byte(tt.text)
			if n, ok := endOfHead(b, 0); n != tt.n || ok != tt.ok {
				t.Fatalf("whole: got %d, %t, want %d, %t", n, ok, tt.n, tt.ok)
			}
			for i := range len(b) + 1 { // In three pieces, cut everywhere.
				for j := i; j <= len(b); j++ {
					if n, ok := endInPieces(b, i, j, len(b)); n != tt.n || ok != tt.ok {
						t.Fatalf("cut at %d and %d: got %d, %t, want %d, %t", i, j, n, ok, tt.n, tt.ok)
					}
				}
			}
			every := make([]int, len(b))
			for i := range b {
				every[i] = i + 1
			}
			if n, ok := endInPieces(b, every...); n != tt.n || ok != tt.ok {
				t.Fatalf("byte by byte: got %d, %t, want %d, %t", n, ok, tt.n, tt.ok)
			}
		})
	}
}

// endInPieces searches b as it grows to each of the lengths, as Conn.requestHead does.
func endInPieces(b []byte, lengths ...int) (n int, ok bool) {
	from := 0
	for _, l := range lengths {
		if n, ok = endOfHead(b[:l], from); n > 0 || !ok {
			return n, ok
		}
		from = max(0, l-1)
	}
	return 0, true
}

// TestRequestReused: nothing of one request is left in the next.
func TestRequestReused(t *testing.T) {
	var r request
	if refusal := r.parse([]byte(headPlus("Content-Length: 5", hostLine, keyLine))); refusal != nil {
		t.Fatal(refusal)
	}
	if refusal := r.checkRequest("", false); refusal == nil {
		t.Fatal("got no refusal of a request with a body")
	}
	if refusal := r.parse([]byte(headPlus())); refusal != nil {
		t.Fatal(refusal)
	}
	if refusal := r.checkRequest("/ws", false); refusal != nil {
		t.Fatalf("got %v, want no refusal", refusal)
	}
}

func TestRefusalError(t *testing.T) {
	if got, want := fmt.Sprint(error(&Refusal{503, "full"})), "503 full"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
