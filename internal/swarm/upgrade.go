package swarm

import (
	"bytes"
	"errors"
	"fmt"
)

var (
	errRefused  = errors.New("swarm: the server did not upgrade")
	errDeflate  = errors.New("swarm: the server does not compress as it was asked to")
	errGreeting = errors.New("swarm: the server does not greet as it should")
)

// A fixed key: what it protects from does not concern a measurement.
const (
	key    = "dGhlIHNhbXBsZSBub25jZQ=="
	accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455, section 1.3
)

// request returns the opening handshake for a host and path. It has the fields that browsers
// send in length and number. It offers compression if deflate is set, without context
// takeover, so that a message is the same bytes for all who get it.
func request(host, path string, deflate bool) []byte {
	offer := ""
	if deflate {
		offer = "Sec-WebSocket-Extensions: " + deflateOffer + "\r\n"
	}
	return []byte("GET " + path + " HTTP/1.1\r\n" +
		"Host: " + host + "\r\n" +
		"Connection: Upgrade\r\n" +
		"Upgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\n" +
		offer +
		"Sec-WebSocket-Key: " + key + "\r\n\r\n")
}

const deflateOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// answer looks for a whole 101 response with the greeting behind it. It returns what
// follows, and false while there is less.
func answer(b []byte, greeting string, deflate bool) (rest []byte, whole bool, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, false, nil
	}
	head, rest := b[:end], b[end+4:]
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(accept)) {
		return nil, false, fmt.Errorf("%w: %.80q", errRefused, head)
	}
	if deflate && !bytes.Contains(head, []byte("permessage-deflate")) {
		return nil, false, fmt.Errorf("%w: %.200q", errDeflate, head)
	}
	if greeting == "" {
		return rest, true, nil
	}
	want := append([]byte{0x81, byte(len(greeting))}, greeting...)
	if n := min(len(rest), len(want)); !bytes.Equal(rest[:n], want[:n]) {
		return nil, false, fmt.Errorf("%w: its first message is %.80q, not %q", errGreeting, rest, greeting)
	}
	if len(rest) < len(want) {
		return nil, false, nil
	}
	return rest[len(want):], true, nil
}
