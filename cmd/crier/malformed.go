package main

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"

	"github.com/crier-ws/crier/internal/httpjson"
)

// jsonListener accepts connections for an http.Server whose errors are JSON. net/http answers a request that it cannot
// read with plain text, and no handler sees that request: a path with a percent sign by itself, for example.
type jsonListener struct{ net.Listener }

func (l jsonListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &jsonConn{conn}, nil
}

// jsonConn is a connection of a jsonListener.
type jsonConn struct{ net.Conn }

// CloseWrite is for net/http, which ends the sending side of a connection before it closes it with unread bytes:
// otherwise a reset could overtake the answer.
func (c *jsonConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// plainHead is what follows the status line in such an answer, and the text follows plainHead. The answers of handlers
// have other headers, such as Date.
const plainHead = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Write writes b, or JSON in place of a plain text that net/http writes by itself, in one call.
func (c *jsonConn) Write(b []byte) (int, error) {
	end := bytes.IndexByte(b, '\r')
	if end < 0 || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) || !bytes.HasPrefix(b[end:], []byte(plainHead)) {
		return c.Conn.Write(b)
	}
	var p httpjson.Problem
	switch status := string(b[len("HTTP/1.1 "):end]); {
	case strings.HasPrefix(status, "400 "):
		p = httpjson.Problem{Code: httpjson.BadRequest,
			Error: "the request is not valid HTTP/1.1; if there is a percent sign in the path, write it as %25"}
	case strings.HasPrefix(status, "431 "):
		p = httpjson.Problem{Code: httpjson.HeadTooLarge, Error: "the head of the request is too large"}
	default: // 501 and 505: the client does not send plain HTTP/1.1.
		return c.Conn.Write(b)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	answer := append(b[:end:end], "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"...)
	if _, err := c.Conn.Write(append(append(answer, body...), '\n')); err != nil {
		return 0, err
	}
	return len(b), nil
}
