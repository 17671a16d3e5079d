package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/term"
)

// probeCmd is the flags of asking a server how it is.
type probeCmd struct {
	Admin   string     `default:"127.0.0.1:18001" placeholder:"HOST:PORT" help:"The server's --admin (default: ${default})."`
	Ready   bool       `help:"Ask whether it takes connections, too, and does not drain."`
	Timeout flags.Span `default:"3s" placeholder:"DURATION" help:"How long the answer may take (default: ${default})."`
}

// Help is shown by --help.
func (*probeCmd) Help() string {
	return `Exits 0 if the server on this host answers /livez, or with --ready /readyz, with 200, and 1 if not. ` +
		`It is for health checks of containers that have no shell and no curl. ` +
		`CRIER_ADMIN says to both where --admin is.`
}

// What to do about answers that are no 200.
var probeStatuses = map[int]string{
	http.StatusNotFound:           notAdmin,
	http.StatusUpgradeRequired:    notAdmin,
	http.StatusFound:              notAdmin,
	http.StatusServiceUnavailable: "it drains, is full, or does not come round to connections: its log and /metrics say which",
}

// Run asks.
func (cmd *probeCmd) Run(out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(cmd.Timeout))
	defer cancel()
	path := "livez"
	if cmd.Ready {
		path = "readyz"
	}
	where := peer{flag: "--admin", addr: cmd.Admin, is: "--admin", want: "HOST:PORT, without http://", statuses: probeStatuses}
	// Whatever address the server listens on, the name localhost it answers to.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/"+path, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", cmd.Admin)
		},
	}
	resp, err := transport.RoundTrip(req) // Redirects are no answer.
	if err != nil {
		return where.explain(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return where.explain(&refusedError{resp.StatusCode, fmt.Sprintf("/%s is answered %s", path, resp.Status), strings.TrimSpace(string(body)), 0})
	}
	_, err = out.Write(term.Safe(out, body))
	return err
}
