package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
)

// minTokenBytes is the length of the shortest token that is accepted.
const minTokenBytes = 16

// adminFlags has the flags of the admin API, through which back ends publish. They are immutable after parsing.
type adminFlags struct {
	Admin          string    `empty:"" placeholder:"HOST:PORT" help:"Serve publishing, administration and a live page over HTTP on this address, which must not be public; port 0 picks a free one (default: off)."`
	OTLPEndpoint   collector `name:"otlp-endpoint" empty:"" placeholder:"URL" help:"Send a span of each request that publishes through --admin to the OpenTelemetry collector at this URL, such as http://127.0.0.1:4318, by OTLP over HTTP; the OTEL_ environment variables set headers, sampling and the like (default: off)."`
	AdminTokenFile string    `placeholder:"FILE" help:"File with the token that requests to --admin must bear; needed unless that is a loopback address."`
}

// validate calls check with each condition that the flags must meet.
func (f *adminFlags) validate(check checkFunc) {
	check(f.Admin != "" || f.AdminTokenFile == "" || activated, "admin-token-file", "given", "--admin as well")
	check(f.Admin != "" || f.OTLPEndpoint == "" || activated, "otlp-endpoint", "given", "--admin as well")
	if f.Admin == "" {
		return
	}
	checkAddress(check, "admin", f.Admin)
	host, _, err := net.SplitHostPort(f.Admin)
	check(err != nil || onLoopback(host) || f.AdminTokenFile != "", "admin", f.Admin,
		"a loopback address, or --admin-token-file as well")
}

// token reads the token of --admin-token-file. Without that flag it returns "".
func (f *adminFlags) token() (string, error) {
	if f.AdminTokenFile == "" {
		return "", nil
	}
	token, err := readToken("admin-token-file", f.AdminTokenFile)
	if err == nil && len(token) < minTokenBytes {
		err = fmt.Errorf("--admin-token-file %s: the token has %d characters, want at least %d",
			f.AdminTokenFile, len(token), minTokenBytes)
		err = hinted(wrongSetting(err), "openssl rand -hex 32 makes one")
	}
	return token, err
}

// readToken reads the token in the file that a flag names: visible ASCII in one line.
func readToken(flag, file string) (string, error) {
	b, err := readSetting(file)
	const want = "want the token alone, in one line"
	if err != nil {
		if err = fileError("--"+flag, file, err); hintOf(err) == "" {
			err = hinted(err, want)
		}
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if strings.ContainsFunc(token, notInToken) {
		return "", hinted(wrongSetting(fmt.Errorf("--%s %s: the file has more than a token in it", flag, file)), want)
	}
	return token, nil
}

// notInToken reports whether a character is not allowed in a token.
func notInToken(r rune) bool { return r <= ' ' || r > '~' }

// listen listens on the address of --admin. Without that flag it returns nil.
func (f *adminFlags) listen() (net.Listener, error) {
	if f.Admin == "" {
		return nil, nil
	}
	const want = "want HOST:PORT"
	host, _, _ := net.SplitHostPort(f.Admin)
	var ln net.Listener
	var err error
	if f.AdminTokenFile == "" && onLoopback(host) {
		ln, err = loopback(f.Admin).listen() // A hosts file may map localhost to any address.
	} else {
		ln, err = broadcast.Listen(f.Admin)
	}
	if err != nil {
		return nil, explainListen("admin", f.Admin, err, want)
	}
	return ln, nil
}

// nodeName returns the name of this host, or "" if it has none.
func nodeName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// bodyTimeout is how long a request may take to arrive.
const bodyTimeout = 30 * time.Second

// startAdmin serves the admin API on ln until close. It returns nil if ln is nil. wrap wraps the handler; it may be
// nil.
func startAdmin(
	ln net.Listener, srv *broadcast.Server, cfg admin.Config, wrap func(http.Handler) http.Handler, logger *slog.Logger,
) *endpoint {
	if ln == nil {
		return nil
	}
	back := admin.New(srv, cfg)
	var handler http.Handler = back
	if wrap != nil {
		handler = wrap(handler)
	}
	if cfg.Token == "" {
		handler = localOnly(handler)
	}
	e := startEndpoint("admin", ln, handler, logger, bodyTimeout)
	e.before = back.Close
	return e
}
