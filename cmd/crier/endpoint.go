package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/crier-ws/crier/internal/httpjson"
)

// endpoint is an HTTP server beside the one that clients connect to.
type endpoint struct {
	// Immutable after construction.
	name   string
	srv    *http.Server
	ln     net.Listener
	served chan struct{} // Closed when Serve has returned.
	before func()        // If not nil, close calls it first: it ends responses that stream without end.
}

// startEndpoint serves handler on ln until close. A request must arrive within timeout, and its response must be
// written within twice timeout; 0 means no limit.
func startEndpoint(
	name string, ln net.Listener, handler http.Handler, logger *slog.Logger, timeout time.Duration,
) *endpoint {
	e := &endpoint{
		name: name,
		srv: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       timeout,
			WriteTimeout:      2 * timeout,
			IdleTimeout:       idleTimeout,
			ConnState:         newIdleConns(maxIdle).changed,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		},
		ln:     ln,
		served: make(chan struct{}),
	}
	go pprof.Do(context.Background(), pprof.Labels("crier", name), func(context.Context) { // Stopped and awaited by close.
		defer close(e.served)
		if err := e.srv.Serve(jsonListener{ln}); !errors.Is(err, http.ErrServerClosed) {
			logger.Error(name+" is no longer served", "err", err)
		}
	})
	return e
}

// attrs returns the attributes of the log line "serving": the address, or nothing if e is nil.
func (e *endpoint) attrs() []any {
	if e == nil {
		return nil
	}
	return []any{e.name, e.ln.Addr().String()}
}

// close closes the listener and all connections. It does not wait for requests in progress. e may be nil.
func (e *endpoint) close() {
	if e == nil {
		return
	}
	if e.before != nil {
		e.before()
	}
	_ = e.srv.Close()
	<-e.served
}

// onLoopback reports whether host is localhost, ::1 or an address of 127.0.0.0/8. It does not look up other names,
// because their owners may let them resolve to any address.
func onLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// localOnly refuses requests that a web page in a browser on this host may send: requests for the page's own name,
// which resolves to a loopback address (DNS rebinding), and requests that the browser marks as cross-site. The page
// could not read the response of such a request, but the request would have its effect.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch site := r.Header.Get("Sec-Fetch-Site"); {
		case !onLoopback(hostname(r.Host)):
			httpjson.Fail(w, httpjson.Forbidden, "this is served to 127.0.0.1, [::1] and localhost only")
		case site != "" && site != "none" && site != "same-origin", !ownOrigin(r):
			httpjson.Fail(w, httpjson.Forbidden, "this is not served to pages of other sites")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownOrigin reports whether a request was sent by a page of this address, or not by a page.
func ownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin == "" || err == nil && u.Host == r.Host
}

// hostname returns a Host header without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
