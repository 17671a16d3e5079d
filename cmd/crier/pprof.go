package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime"
	"strings"
	"time"
)

// loopback is a TCP address on the command line that no other host can reach,
// or empty. Profiles tell what a process is at and cost it time, so they are
// for those who can log in where it runs.
type loopback string

// UnmarshalText checks an address. Whether localhost is what it should be,
// listen finds out.
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

// onLoopback says whether host is localhost or an address of 127.0.0.0/8 or
// ::1. Other names are not looked up: what they stand for is up to whoever
// answers for them.
func onLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// listen looks localhost up, since a hosts file may say anything, and listens
// on what it has seen.
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

// lookup is a variable for tests, which have one hosts file.
var lookup = net.DefaultResolver.LookupNetIP

// profiles serves net/http/pprof.
type profiles struct {
	srv    *http.Server
	ln     net.Listener
	served chan struct{} // Closed when Serve has returned.
}

// startProfiles serves profiles on the address, until close. If it is empty,
// it serves none and returns nil.
//
// That net/http/pprof is in the binary makes Go sample what is allocated, which
// the linker spares programs that cannot ask for a profile: so without the
// address it is ended here. The import also registers with
// http.DefaultServeMux, which nothing here serves. Blocking and contention are
// not recorded (runtime.SetBlockProfileRate, SetMutexProfileFraction): both
// slow down what they measure.
func startProfiles(l loopback, logger *slog.Logger) (*profiles, error) {
	if l == "" {
		runtime.MemProfileRate = 0
		return nil, nil
	}
	ln, err := l.listen()
	if err != nil {
		return nil, explainListen("pprof", string(l), err, wantLoopback)
	}
	p := &profiles{
		srv: &http.Server{
			Handler:           localOnly(pprofMux()),
			ReadHeaderTimeout: 5 * time.Second,
			IdleTimeout:       time.Minute,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		},
		ln:     ln,
		served: make(chan struct{}),
	}
	go func() { // Stopped and awaited by close.
		defer close(p.served)
		if err := p.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("profiles are served no more", "err", err)
		}
	}()
	return p, nil
}

// attrs is what the start line says: the address, or nothing if p is nil.
func (p *profiles) attrs() []any {
	if p == nil {
		return nil
	}
	return []any{"pprof", p.ln.Addr().String()}
}

// close closes the listener and all connections. A profile in progress is cut
// off and not waited for. p may be nil.
func (p *profiles) close() {
	if p == nil {
		return
	}
	_ = p.srv.Close()
	<-p.served
}

// pprofMux has the paths that net/http/pprof registers for itself elsewhere.
func pprofMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// localOnly refuses what a web page that is open in a browser on this host may
// send: requests for its own name, which it has made to stand for a loopback
// address (DNS rebinding), and those that the browser says come from another
// site, whose answer the page would not see but the server would pay for.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch site := r.Header.Get("Sec-Fetch-Site"); {
		case !onLoopback(hostname(r.Host)):
			http.Error(w, "profiles are served to 127.0.0.1, [::1] and localhost only", http.StatusForbidden)
		case site != "" && site != "none" && site != "same-origin":
			http.Error(w, "profiles are not served to other sites' pages", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// hostname is a Host header without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
