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

// leastToken is how long a token must be at least, in bytes.
const leastToken = 16

// adminFlags is where back ends publish.
type adminFlags struct {
	Admin          string    `empty:"" placeholder:"HOST:PORT" help:"Serve publishing, administration and a live page over HTTP on this address, which must not be public; port 0 picks a free one (default: off)."`
	OTLPEndpoint   collector `name:"otlp-endpoint" empty:"" placeholder:"URL" help:"Send a span of each request that publishes through --admin to the OpenTelemetry collector at this URL, such as http://127.0.0.1:4318, by OTLP over HTTP; the OTEL_ environment variables set headers, sampling and the like (default: off)."`
	AdminTokenFile string    `placeholder:"FILE" help:"File with the token that requests to --admin must bear; needed unless that is a loopback address."`
}

// validate finds what is wrong with the flags.
func (f *adminFlags) validate(check func(ok bool, flag string, value any, want string)) {
	check(f.Admin != "" || f.AdminTokenFile == "" || activated, "admin-token-file", "given", "--admin as well")
	check(f.Admin != "" || f.OTLPEndpoint == "" || activated, "otlp-endpoint", "given", "--admin as well")
	if f.Admin == "" {
		return
	}
	checkAddress(check, "admin", f.Admin)
	host, _, err := net.SplitHostPort(f.Admin)
	check(err != nil || onLoopback(host) || f.AdminTokenFile != "", "admin", f.Admin, "a loopback address, or --admin-token-file as well")
}

// token reads the token, if there is to be one.
func (f *adminFlags) token() (string, error) {
	if f.AdminTokenFile == "" {
		return "", nil
	}
	token, err := readToken("admin-token-file", f.AdminTokenFile)
	if err == nil && len(token) < leastToken {
		err = fmt.Errorf("--admin-token-file %s: the token has %d characters, want at least %d", f.AdminTokenFile, len(token), leastToken)
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
		return "", hinted(wrongSetting(fmt.Errorf("--%s %s: the file has more in it than a token", flag, file)), want)
	}
	return token, nil
}

// notInToken reports whether a token cannot have a character.
func notInToken(r rune) bool { return r <= ' ' || r > '~' }

// listen listens on the address, or returns nil if there is none.
func (f *adminFlags) listen() (net.Listener, error) {
	if f.Admin == "" {
		return nil, nil
	}
	const want = "want HOST:PORT"
	host, _, _ := net.SplitHostPort(f.Admin)
	var ln net.Listener
	var err error
	if f.AdminTokenFile == "" && onLoopback(host) {
		ln, err = loopback(f.Admin).listen() // Whatever a hosts file says of localhost.
	} else {
		ln, err = broadcast.Listen(f.Admin)
	}
	if err != nil {
		return nil, explainListen("admin", f.Admin, err, want)
	}
	return ln, nil
}

// nodeName is the name of this host, or empty if the kernel does not know it.
func nodeName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// bodyTimeout is how long a request may take to come.
const bodyTimeout = 30 * time.Second

// startAdmin serves back ends on ln, or returns nil if that is nil. within, if not nil, is put around the handler.
func startAdmin(ln net.Listener, srv *broadcast.Server, cfg admin.Config, within func(http.Handler) http.Handler, logger *slog.Logger) *endpoint {
	if ln == nil {
		return nil
	}
	back := admin.New(srv, cfg)
	var handler http.Handler = back
	if within != nil {
		handler = within(handler)
	}
	if cfg.Token == "" {
		handler = localOnly(handler)
	}
	e := startEndpoint("admin", ln, handler, logger, bodyTimeout)
	e.before = back.Close
	return e
}
