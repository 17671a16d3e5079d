package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	profiles "runtime/pprof"
	"strings"
	"time"

	"github.com/crier-ws/crier/internal/httpjson"
)

// loopback is a TCP address on the command line that no other host can reach, or "". Profiles reveal what a process
// does, and cost it time, so they are only for users of the same host.
type loopback string

// UnmarshalText checks an address. It does not look up localhost: listen does.
func (l *loopback) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	switch {
	case len(text) == 0: // Off.
	case err != nil, host == "", port == "":
		return fmt.Errorf("%q is not a loopback address with a port; %s", text, wantLoopback)
	case !onLoopback(host):
		return fmt.Errorf("%q is not on a loopback address, and profiles are for this host only; %s", text, wantLoopback)
	}
	*l = loopback(text)
	return nil
}

const wantLoopback = "want 127.0.0.1:PORT, [::1]:PORT or localhost:PORT"

// listen looks up the host, because a hosts file may map localhost to any address, and listens on the loopback address
// that it found.
func (l loopback) listen() (net.Listener, error) {
	host, port, err := net.SplitHostPort(string(l))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addrs, err := lookup(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	pick := addrs[0]
	for _, addr := range addrs {
		if !addr.IsLoopback() {
			return nil, fmt.Errorf("%s is %v here, which is not a loopback address", host, addr)
		}
		if addr.Unmap().Is4() && !pick.Unmap().Is4() {
			pick = addr // As net.Listen does.
		}
	}
	return net.Listen("tcp", net.JoinHostPort(pick.Unmap().String(), port))
}

// lookup is a variable so that tests can replace it.
var lookup = net.DefaultResolver.LookupNetIP

// startProfiles serves profiles on l until close. It returns nil if l is empty.
func startProfiles(l loopback, logger *slog.Logger) (*endpoint, error) {
	if l == "" {
		return nil, nil
	}
	ln, err := l.listen()
	if err != nil {
		return nil, explainListen("pprof", string(l), err, wantLoopback)
	}
	return startEndpoint("pprof", ln, localOnly(pprofMux()), logger, 0), nil
}

// noSamples turns off the sampling of allocations, for a process that does not serve profiles. Go samples them in each
// program that links net/http/pprof.
func noSamples() { runtime.MemProfileRate = 0 }

// pprofMux returns a mux with the paths that net/http/pprof registers with http.DefaultServeMux, which crier does not
// serve. Blocking and contention are not recorded (runtime.SetBlockProfileRate, SetMutexProfileFraction), because
// recording slows the program down.
func pprofMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", profile)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// profile serves the list of profiles, and the profiles of the runtime. The answer to a request for an unknown
// profile is JSON, like all errors of --admin.
func profile(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debug/pprof/")
	if name != "" && profiles.Lookup(name) == nil {
		httpjson.Fail(w, httpjson.NotFound, "no such profile: %s; /debug/pprof/ lists all profiles", name)
		return
	}
	pprof.Index(w, r)
}
