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

// peer is a server that a command connects to. It explains errors of the connection. Its fields are immutable.
type peer struct {
	flag     string         // The flag with the address, or "" for an argument.
	addr     string         // The value of the flag.
	is       string         // The flag of serving whose address it should be: --listen or --admin.
	want     string         // The syntax of the address.
	plain    string         // The scheme without TLS, or "" if the address has no scheme.
	statuses map[int]string // What to do about an HTTP status.
}

// explain returns err with the address and a hint. err may be nil.
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
		err = request.Err // The address is added below.
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

// hint returns what to do about an error, or "".
func (p peer) hint(err error) string {
	var dns *net.DNSError
	var addr *net.AddrError
	var cert *tls.CertificateVerificationError
	var wait interface{ Timeout() bool }
	// An HTTPS server of Go answers a request without TLS with 400.
	if hint, ok := p.statuses[statusOf(err)]; ok && !strings.Contains(err.Error(), "HTTPS server") {
		return hint
	}
	switch {
	case isErrno(err, unix.ECONNREFUSED) && p.is == "--admin":
		return "nothing listens there: start the server with this --admin, as crier --admin 127.0.0.1:18001"
	case isErrno(err, unix.ECONNREFUSED):
		return "nothing listens there: start the server, or give the address of its " + p.is
	case isErrno(err, unix.EHOSTUNREACH), isErrno(err, unix.ENETUNREACH):
		return "this host has no route to that host: see ip route"
	case errors.As(err, &dns), strings.Contains(err.Error(), ": no such host"):
		return "check the name of the host: getent hosts NAME looks it up"
	case errors.As(err, &addr):
		return "want " + p.want
	case errors.As(err, &cert):
		return "if the certificate is the right one, name the file of its CA in the environment: SSL_CERT_FILE=ca.pem"
	case p.plain != "" && speaksNoTLS(err):
		return "the server does not use TLS on that port: write " + p.plain + "://"
	case errors.Is(err, ws.ErrHandshakeBadProtocol):
		return "the port does not accept WebSockets, or it accepts only TLS: give the address of the server's " + p.is
	case p.speaksTLS(err):
		return "the server closed the connection without an answer: the port may accept only TLS, or not be its " + p.is
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &wait) && wait.Timeout():
		return "there was no answer in time: the server may be overloaded, or a firewall drops the connection"
	}
	return ""
}

// isErrno reports whether an error has an errno as its cause. Errors of crier load may have come from another process,
// as text.
func isErrno(err error, kind syscall.Errno) bool {
	return errors.Is(err, kind) || strings.HasSuffix(err.Error(), ": "+kind.Error())
}

// speaksNoTLS reports whether a TLS connection failed in a way that is typical for a server without TLS.
func speaksNoTLS(err error) bool {
	var head tls.RecordHeaderError
	return errors.As(err, &head) || errors.Is(err, http.ErrSchemeMismatch) ||
		strings.Contains(err.Error(), "remote error: tls: handshake failure")
}

// speaksTLS reports whether a connection without TLS failed in a way that is typical for a server that accepts only
// TLS.
func (p peer) speaksTLS(err error) bool {
	if errors.Is(err, crier.ErrLost) {
		return false // The connection had been open.
	}
	text := err.Error()
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isErrno(err, unix.ECONNRESET) ||
		strings.Contains(text, "HTTPS server") ||
		strings.HasPrefix(text, "with 0 of ") && strings.HasSuffix(text, ": closed by the server")
}

var statusLine = regexp.MustCompile(`did not upgrade: "?HTTP/1\.[01] ([1-5]\d\d)`)

// statusOf returns the HTTP status that a server has answered with, or 0.
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

// withoutQuery returns an address without its query and password, which may be secret.
func withoutQuery(addr string) string {
	before, _, _ := strings.Cut(addr, "?")
	if u, err := url.Parse(before); err == nil {
		return u.Redacted()
	}
	return before
}

// clientStatuses has what to do about the answers of a server to clients.
var clientStatuses = map[int]string{
	http.StatusBadRequest: "the answer says what is wrong with the request; docs/protocol.md describes requests",
	http.StatusUnauthorized: "give a token that the server's --auth accepts, with --token-file or CRIER_TOKEN; " +
		"crier token makes one",
	http.StatusForbidden: "the token's claim must allow this channel: see docs/protocol.md",
	http.StatusNotFound: "give the address of the server's --listen; if the server has a --path, write " +
		"ws://HOST:PORT/PATH",
	http.StatusUpgradeRequired: "a proxy in front of the server does not forward WebSockets",
	http.StatusTooManyRequests: "this address has as many connections as --max-conns-per-ip allows: close some, or " +
		"raise it",
	http.StatusServiceUnavailable: "the server is full (--max-conns, --memory, open files) or drains: try again " +
		"later, or raise its limits",
	http.StatusBadGateway:          "a proxy answers, and the server behind it does not: start the server",
	http.StatusGatewayTimeout:      "a proxy answers, and the server behind it does not: start the server",
	http.StatusInternalServerError: "the server's log says more",
}

// adminStatuses has what to do about the answers of a server's --admin.
var adminStatuses = map[int]string{
	http.StatusBadRequest:   "docs/protocol.md describes the names of channels, and requests",
	http.StatusUnauthorized: "give the token of the server's --admin-token-file: --token-file",
	http.StatusForbidden: "without --admin-token-file the server answers requests for 127.0.0.1, [::1] and " +
		"localhost only",
	http.StatusNotFound:              notAdmin,
	http.StatusMethodNotAllowed:      notAdmin,
	http.StatusUpgradeRequired:       notAdmin,
	http.StatusRequestEntityTooLarge: "a line may have as many bytes as the server's --max-message",
	http.StatusTooManyRequests:       "try again later",
	http.StatusServiceUnavailable:    "the server is overloaded or drains: try again later, or for longer with --retry",
	http.StatusInternalServerError:   "the server's log says more",
}

const notAdmin = "give the address of the server's --admin, which is not the address that clients connect to"
