package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/httpjson"
)

// TestAdminMalformed checks that the answer to a request that net/http cannot read is JSON, like all errors of --admin.
func TestAdminMalformed(t *testing.T) {
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")
	for name, tt := range map[string]struct {
		request string
		code    httpjson.Code
	}{
		"a percent sign by itself": {"GET /v1/channels/100% HTTP/1.1\r\nHost: localhost\r\n\r\n", httpjson.BadRequest},
		"no host":                  {"GET /v1/channels HTTP/1.1\r\n\r\n", httpjson.BadRequest},
		"two lengths": {"POST /v1/publish/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
			"2\r\nContent-Length: 3\r\n\r\nhi", httpjson.BadRequest},
		"not HTTP": {"hello\r\n\r\n", httpjson.BadRequest},
		"a large head": {"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 2<<20),
			httpjson.HeadTooLarge},
		"a handler's answer": {"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
			httpjson.NotFound},
	} {
		conn, err := net.Dial("tcp", addrs["admin"])
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, tt.request) // The server does not read all of a head that is too large.
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var p httpjson.Problem
		body, err := io.ReadAll(resp.Body) // Reads to the end: a reset must not overtake the answer.
		if err == nil {
			err = json.Unmarshal(body, &p)
		}
		if err != nil || p.Code != tt.code || p.Error == "" || resp.StatusCode != httpjson.Statuses[tt.code] ||
			resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %s %v, %+v, %v, want %s", name, resp.Status, resp.Header, p, err, tt.code)
		}
		conn.Close()
	}
	if err := stop(); err != nil {
		t.Errorf("crier ended with %v", err)
	}
}

// written is a connection that records all writes.
type written struct {
	net.Conn
	all bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) { return w.all.Write(b) }

// TestJSONConn checks that the answer to a head that is too large becomes JSON, and that other writes are unchanged.
func TestJSONConn(t *testing.T) {
	const large = "HTTP/1.1 431 Request Header Fields Too Large"
	for name, tt := range map[string]struct{ b, want string }{
		"a large head":   {large + plainHead + "431 Request", `"code":"head_too_large"`},
		"part of a body": {"\r\n" + plainHead, ""},
		"501":            {"HTTP/1.1 501 Unsupported transfer encoding" + plainHead + "501", ""},
		"505":            {"HTTP/1.1 505 HTTP Version Not Supported" + plainHead + "505", ""},
		"another answer": {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nx" + plainHead, ""},
		"nothing":        {"", ""},
	} {
		w := new(written)
		if n, err := (&jsonConn{w}).Write([]byte(tt.b)); n != len(tt.b) || err != nil {
			t.Errorf("%s: got %d, %v", name, n, err)
		}
		if got := w.all.String(); tt.want == "" && got != tt.b || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
