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

// probeCmd has the flags of crier probe.
type probeCmd struct {
	Admin   string     `default:"127.0.0.1:18001" placeholder:"HOST:PORT" help:"The server's --admin (default: ${default})."`
	Ready   bool       `help:"Check also that the server accepts connections and does not drain."`
	Timeout flags.Span `default:"3s" placeholder:"DURATION" help:"How long the answer may take (default: ${default})."`
}

// Help is shown by --help.
func (*probeCmd) Help() string {
	return `Exits with 0 if the server on this host answers /livez, or with --ready /readyz, with 200, ` +
		`and with 1 if not. ` +
		`It is for health checks of containers without a shell and curl. ` +
		`The environment variable CRIER_ADMIN sets --admin of both the server and the probe.`
}

// probeStatuses has what to do about answers other than 200.
var probeStatuses = map[int]string{
	http.StatusNotFound:        notAdmin,
	http.StatusUpgradeRequired: notAdmin,
	http.StatusFound:           notAdmin,
	http.StatusServiceUnavailable: "the server drains, is full, or does not respond to its connections: see its log " +
		"and /metrics",
}

// Run sends the request. kong calls it.
func (cmd *probeCmd) Run(out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(cmd.Timeout))
	defer cancel()
	path := "livez"
	if cmd.Ready {
		path = "readyz"
	}
	where := peer{
		flag: "--admin", addr: cmd.Admin, is: "--admin", want: "HOST:PORT, without http://", statuses: probeStatuses,
	}
	// The server answers requests for localhost, whatever address it listens on.
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
	resp, err := transport.RoundTrip(req) // It does not follow redirects.
	if err != nil {
		return where.explain(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		answer := fmt.Sprintf("the answer to /%s is %s", path, resp.Status)
		return where.explain(&refusedError{resp.StatusCode, answer, strings.TrimSpace(string(body)), 0})
	}
	_, err = out.Write(term.Safe(out, body))
	return err
}
