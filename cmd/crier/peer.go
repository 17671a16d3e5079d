package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	crier "github.com/crier-ws/crier/clients/go"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// peer is a server that a command asks, and how to explain that it does not get an answer.
type peer struct {
	flag     string         // which says where it is, or empty for an argument
	addr     string         // what the flag says
	is       string         // what of a server it should be
	want     string         // how the flag is written
	plain    string         // scheme without TLS, or empty if there is none
	statuses map[int]string // what to do about an answer
}

// explain returns err with where it was and what to do.
func (p peer) explain(err error) error {
	var already *hintedError
	if err == nil || errors.As(err, &already) {
		return err
	}
	hint := hintOf(err)
	if hint == "" {
		hint = p.hint(err)
	}
	var request *url.Error
	if errors.As(err, &request) && !strings.Contains(err.Error(), ";") {
		err = request.Err // The flag says which address.
	}
	if where := strings.TrimSpace(p.flag + " " + withoutQuery(p.addr)); !strings.Contains(err.Error(), where) {
		err = fmt.Errorf("%s: %w", where, err)
	}
	var addr *net.AddrError
	if errors.As(err, &addr) {
		err = wrongSetting(err)
	}
	if hint == "" {
		return err
	}
	return hinted(err, "%s", hint)
}

// hint is what to do about an error.
func (p peer) hint(err error) string {
	var dns *net.DNSError
	var addr *net.AddrError
	var cert *tls.CertificateVerificationError
	var wait interface{ Timeout() bool }
	if hint, ok := p.statuses[statusOf(err)]; ok && !strings.Contains(err.Error(), "HTTPS server") { // Go's say that with 400.
		return hint
	}
	switch {
	case is(err, unix.ECONNREFUSED) && p.is == "--admin":
		return "nothing listens there: is the server up, and is that its --admin? crier --admin 127.0.0.1:18001 has one"
	case is(err, unix.ECONNREFUSED):
		return "nothing listens there: is the server up, and is that its " + p.is + "?"
	case is(err, unix.EHOSTUNREACH), is(err, unix.ENETUNREACH):
		return "there is no way to that host from here: see ip route"
	case errors.As(err, &dns), strings.Contains(err.Error(), ": no such host"):
		return "is the name of the host right? getent hosts NAME looks it up"
	case errors.As(err, &addr):
		return "want " + p.want
	case errors.As(err, &cert):
		return "if the certificate is the right one, SSL_CERT_FILE=ca.pem in the environment names who has signed it"
	case p.plain != "" && speaksNoTLS(err):
		return "the server speaks no TLS on that port: write " + p.plain + "://"
	case errors.Is(err, ws.ErrHandshakeBadProtocol):
		return "that is no WebSocket server, or the port takes TLS only: is it the server's " + p.is + "?"
	case p.speaksTLS(err):
		return "it hung up without an answer: does that port take TLS only, or is it no " + p.is + "?"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return "there was no answer in time: is the server very busy, or a firewall between?"
	}
	return ""
}

// is says whether an error is of a kind. Those of crier load may come from another process,
// as text.
func is(err error, kind syscall.Errno) bool {
	return errors.Is(err, kind) || strings.HasSuffix(err.Error(), ": "+kind.Error())
}

// speaksNoTLS says whether TLS failed as it does where a server speaks none.
func speaksNoTLS(err error) bool {
	var head tls.RecordHeaderError
	return errors.As(err, &head) || errors.Is(err, http.ErrSchemeMismatch) || strings.Contains(err.Error(), "remote error: tls: handshake failure")
}

// speaksTLS says whether a connection without TLS failed as it does where a server speaks
// nothing else.
func (p peer) speaksTLS(err error) bool {
	if errors.Is(err, crier.ErrLost) {
		return false // It had been made.
	}
	text := err.Error()
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || is(err, unix.ECONNRESET) || strings.Contains(text, "HTTPS server") ||
		strings.HasPrefix(text, "with 0 of ") && strings.HasSuffix(text, ": closed by the server")
}

var statusLine = regexp.MustCompile(`did not upgrade: "?HTTP/1\.[01] ([1-5]\d\d)`)

// statusOf is the status that a server has answered with, or 0.
func statusOf(err error) int {
	var answer interface{ StatusCode() int }
	if errors.As(err, &answer) {
		return answer.StatusCode()
	}
	if m := statusLine.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1]) // Three digits.
		return n
	}
	return 0
}

// withoutQuery is an address without what may be a token.
func withoutQuery(addr string) string {
	before, _, _ := strings.Cut(addr, "?")
	if u, err := url.Parse(before); err == nil {
		return u.Redacted()
	}
	return before
}

// What to do about the answers of a server to those who connect as clients.
var clientStatuses = map[int]string{
	http.StatusBadRequest:          "the server says what is wrong with the request; docs/protocol.md has what it takes",
	http.StatusUnauthorized:        "give a token that the server's --auth takes, with --token-file or CRIER_TOKEN; crier token makes one",
	http.StatusForbidden:           "the token's claim must allow this channel; docs/protocol.md has how it is written",
	http.StatusNotFound:            "is this the server's --listen, and does it have a --path? Then write ws://HOST:PORT/PATH",
	http.StatusUpgradeRequired:     "something between here and the server does not pass WebSockets on",
	http.StatusTooManyRequests:     "this address has as many connections as --max-conns-per-ip allows: close some, or raise it",
	http.StatusServiceUnavailable:  "the server is full (--max-conns, --memory, open files) or drains: try again later, or raise its bounds",
	http.StatusBadGateway:          "a proxy answers, and the server behind it does not: is it up?",
	http.StatusGatewayTimeout:      "a proxy answers, and the server behind it does not: is it up?",
	http.StatusInternalServerError: "the server's log says more",
}

// What to do about the answers of a server to those who ask its --admin.
var adminStatuses = map[int]string{
	http.StatusBadRequest:            "docs/protocol.md has what channels are named, and what else there is to say",
	http.StatusUnauthorized:          "give the token of the server's --admin-token-file: --token-file",
	http.StatusForbidden:             "without --admin-token-file the server answers requests for 127.0.0.1, [::1] and localhost only",
	http.StatusNotFound:              notAdmin,
	http.StatusMethodNotAllowed:      notAdmin,
	http.StatusUpgradeRequired:       notAdmin,
	http.StatusRequestEntityTooLarge: "the server's --max-message bounds a line",
	http.StatusTooManyRequests:       "try again later",
	http.StatusServiceUnavailable:    "the server is behind, or drains: try again later, or for longer with --retry",
	http.StatusInternalServerError:   "the server's log says more",
}

const notAdmin = "is this the server's --admin? It is not the address that clients connect to"
