package conformance

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	lineRequest = "GET / HTTP/1.1"
	lineHost    = "Host: test"
	lineUpgrade = "Upgrade: websocket"
	lineConn    = "Connection: Upgrade"
	lineKey     = "Sec-WebSocket-Key: " + key
	lineVersion = "Sec-WebSocket-Version: 13"
)

// with returns a correct head in which one line is replaced ("" removes it), with further lines.
func with(old, new string, further ...string) string {
	var lines []string
	for _, line := range []string{lineRequest, lineHost, lineUpgrade, lineConn, lineKey, lineVersion} {
		if line == old {
			line = new
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(append(lines, further...), "\r\n") + "\r\n\r\n"
}

func plus(further ...string) string { return with("none", "", further...) }

// TestHandshake checks that each status is the one that the named section requires or, where the section leaves a choice,
// the one that docs/protocol.md promises.
func TestHandshake(t *testing.T) {
	tests := []struct {
		section, name, head string
		status              int
	}{
		{"6455 4.2.1", "as it should be", plus(), 101},
		{"6455 4.2.1", "no Upgrade", with(lineUpgrade, ""), 426},
		{"6455 4.2.1", "Upgrade to something else", with(lineUpgrade, "Upgrade: h2c"), 426},
		{"9110 7.8", "Upgrade in capitals", with(lineUpgrade, "UPGRADE: WebSocket"), 101},
		{"9110 7.8", "Upgrade to a list", with(lineUpgrade, "Upgrade: h2c, websocket"), 101},
		{"9110 7.8", "Upgrade in two lines", with(lineUpgrade, "Upgrade: h2c", "Upgrade: websocket"), 101},
		{"6455 4.2.1", "no Connection", with(lineConn, ""), 400},
		{"6455 4.2.1", "Connection: keep-alive", with(lineConn, "Connection: keep-alive"), 400},
		{"9110 7.6.1", "Connection is a list", with(lineConn, "Connection: keep-alive, Upgrade"), 101},
		{"9110 7.6.1", "Connection is a list with empty elements", with(lineConn, "connection: ,keep-alive ,\tupgrade,"), 101},
		{"9110 7.6.1", "Connection in two lines", with(lineConn, "Connection: keep-alive", lineConn), 101},
		{"6455 4.2.1", "Connection: Upgraded", with(lineConn, "Connection: Upgraded"), 400},
		{"6455 4.2.1", "no key", with(lineKey, ""), 400},
		{"6455 4.2.1", "two keys", plus(lineKey), 400},
		{"6455 4.2.1", "empty key", with(lineKey, "Sec-WebSocket-Key:"), 400},
		{"6455 4.2.1", "key of 15 bytes", with(lineKey, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), 400},
		{"6455 4.2.1", "key of 17 bytes", with(lineKey, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), 400},
		{"6455 4.2.1", "key that is no base64", with(lineKey, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), 400},
		{"6455 4.2.1", "key without space before it, and with some behind it", with(lineKey, "Sec-WebSocket-Key:"+key+" \t "), 101},
		{"6455 4.2.2", "no version", with(lineVersion, ""), 400},
		{"6455 4.4", "version 12", with(lineVersion, "Sec-WebSocket-Version: 12"), 426},
		{"6455 4.4", "version 14", with(lineVersion, "Sec-WebSocket-Version: 14"), 426},
		{"6455 4.4", "version 013", with(lineVersion, "Sec-WebSocket-Version: 013"), 426},
		{"6455 4.4", "two versions", plus(lineVersion), 426},
		{"6455 4.4", "a list of versions", with(lineVersion, "Sec-WebSocket-Version: 13, 8"), 426},
		{"6455 4.2.1", "POST", with(lineRequest, "POST / HTTP/1.1"), 405},
		{"9110 9.1", "method in small letters", with(lineRequest, "get / HTTP/1.1"), 405},
		{"6455 4.2.1", "HTTP/1.0", with(lineRequest, "GET / HTTP/1.0"), 400},
		{"9112 2.3", "HTTP/1.2", with(lineRequest, "GET / HTTP/1.2"), 101},
		{"9112 2.3", "HTTP/2.0", with(lineRequest, "GET / HTTP/2.0"), 505},
		{"9112 2.3", "http/1.1", with(lineRequest, "GET / http/1.1"), 400},
		{"9112 3", "two spaces", with(lineRequest, "GET  / HTTP/1.1"), 400},
		{"9112 3", "tab", with(lineRequest, "GET\t/ HTTP/1.1"), 400},
		{"9112 3", "space in the target", with(lineRequest, "GET /a b HTTP/1.1"), 400},
		{"9112 3", "no version", with(lineRequest, "GET /"), 400},
		{"9112 3.2.1", "query", with(lineRequest, "GET /?a=b&c HTTP/1.1"), 101},
		{"9112 3.2.2", "absolute form", with(lineRequest, "GET http://test/ HTTP/1.1"), 101},
		{"9112 3.2.3", "authority form", with(lineRequest, "GET test:80 HTTP/1.1"), 400},
		{"9112 3.2.4", "asterisk form", with(lineRequest, "GET * HTTP/1.1"), 400},
		{"3986 2.1", "half an escape", with(lineRequest, "GET /%4 HTTP/1.1"), 400},
		{"9112 3.2", "no Host", with(lineHost, ""), 400},
		{"9112 3.2", "two Hosts", plus("Host: other"), 400},
		{"9112 3.2", "two Hosts alike", plus(lineHost), 400},
		{"9112 3.2", "empty Host", with(lineHost, "Host:"), 101},
		{"9112 5.1", "space before the colon", with(lineHost, "Host : test"), 400},
		{"9112 5.1", "no colon", plus("Nonsense"), 400},
		{"9112 5.1", "no name", plus(": value"), 400},
		{"9110 5.1", "name that is no token", plus("X(Y): value"), 400},
		{"9112 5.2", "folded", plus("X-Folded: a", " b"), 400},
		{"9112 5.2", "folded with a tab", plus("X-Folded: a", "\tb"), 400},
		{"9112 2.2", "white space before the first field", with(lineHost, " Host: test"), 400},
		{"9110 5.5", "NUL in a value", plus("X: a\x00b"), 400},
		{"9110 5.5", "CR in a value", plus("X: a\rb"), 400},
		{"9110 5.5", "DEL in a value", plus("X: a\x7fb"), 400},
		{"9110 5.5", "what is not ASCII in a value", plus("X: \xc3\xa9"), 101},
		{"9112 2.2", "lines that end with LF", strings.ReplaceAll(plus(), "\r\n", "\n"), 400},
		{"9112 2.2", "one line that ends with LF", strings.Replace(plus(), "\r\n", "\n", 1), 400},
		{"9112 6.3", "Content-Length", plus("Content-Length: 5") + "hello", 400},
		{"9112 6.3", "Content-Length of 0", plus("Content-Length: 0"), 101},
		{"9112 6.3", "two Content-Lengths", plus("Content-Length: 0", "Content-Length: 5"), 400},
		{"9112 6.3", "a list of Content-Lengths", plus("Content-Length: 0, 5"), 400},
		{"9112 6.3", "Content-Length with a sign", plus("Content-Length: +0"), 400},
		{"9112 6.1", "Transfer-Encoding", plus("Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		{"9112 6.1", "Transfer-Encoding and Content-Length", plus("Content-Length: 0", "Transfer-Encoding: identity"), 400},
		{"6585 5", "a head that is too long", plus("X: " + strings.Repeat("x", 1<<20)), 431},
		{"6455 9.1", "extensions that are no list", plus("Sec-WebSocket-Extensions: a b"), 400},
		{"6455 9.1", "extensions that nobody knows", plus("Sec-WebSocket-Extensions: mystery; a=b"), 101},
	}
	addr := start(t)
	defer bystander(t, addr)()
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.section+"/"+tt.name, " ", "_"), func(t *testing.T) {
			for _, chop := range chops {
				if chop == 1 && len(tt.head) > 70_000 {
					continue
				}
				p := dial(t, addr)
				sent := make(chan struct{})
				go func() { // Ends when all is sent or p is closed.
					defer close(sent)
					p.send([]byte(tt.head), chop)
				}()
				r, err := http.ReadResponse(p.br, nil)
				if err != nil || r.StatusCode != tt.status {
					t.Fatalf("chops of %d: got %+v, %v, want %d", chop, r, err, tt.status)
				}
				checkAnswer(t, r)
				p.Close()
				<-sent
			}
		})
	}
}

// checkAnswer checks the headers that an answer with its status must have.
func checkAnswer(t *testing.T, r *http.Response) {
	t.Helper()
	want := map[string]string{"Connection": "close"}
	switch r.StatusCode {
	case 101: // RFC 6455, section 4.2.2. The accept value is that of section 1.3.
		want = map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}
	case 405: // RFC 9110, section 15.5.6.
		want["Allow"] = "GET"
	case 426: // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
		want["Upgrade"], want["Sec-Websocket-Version"] = "websocket", "13"
	}
	for name, value := range want {
		if got := r.Header.Get(name); !strings.EqualFold(got, value) && !(name == "Connection" && r.Close && value == "close") {
			t.Errorf("status %d: got %s: %q, want %q", r.StatusCode, name, got, value)
		}
	}
	if r.StatusCode != 101 {
		if body, err := io.ReadAll(r.Body); err != nil || len(body) == 0 || int64(len(body)) != r.ContentLength {
			t.Errorf("status %d: got body %q, %v, with a length of %d", r.StatusCode, body, err, r.ContentLength)
		}
	}
}

// TestPipelined checks that frames which arrive in one piece with the request head are read.
func TestPipelined(t *testing.T) {
	addr := start(t)
	for _, chop := range chops {
		p := dial(t, addr)
		p.send(join([]byte(plus()), say(opText, "right "), say(fin|opPing, "p"), say(fin|opCont, "behind"), say(fin|opClose, closing(1000, ""))[:3]), chop)
		if r, err := http.ReadResponse(p.br, nil); err != nil || r.StatusCode != 101 {
			t.Fatalf("got %+v, %v", r, err)
		}
		var got [2]frame
		for i := range got {
			var err error
			if got[i], err = p.read(); err != nil {
				t.Fatal(err)
			}
		}
		if chop == 1 && got[0].first != fin|opPong {
			t.Errorf("got %v first, want the pong", got[0])
		}
		p.send(say(fin|opClose, closing(1000, ""))[3:], whole)
		p.expectClose(1000)
		p.Close()
	}
}
