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
	name   string
	srv    *http.Server
	ln     net.Listener
	served chan struct{} // Closed when Serve has returned.
	before func()        // If set, close calls it first: for answers that go on and on.
}

// startEndpoint serves handler on ln until close. timeout is how long a request may take to
// come, and half of how long until its answer has gone; 0 for ever.
func startEndpoint(name string, ln net.Listener, handler http.Handler, logger *slog.Logger, timeout time.Duration) *endpoint {
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
			logger.Error(name+" is served no more", "err", err)
		}
	})
	return e
}

// attrs is what the start line says: the address, or nothing if e is nil.
func (e *endpoint) attrs() []any {
	if e == nil {
		return nil
	}
	return []any{e.name, e.ln.Addr().String()}
}

// close closes the listener and all connections. What is in progress is cut
// off and not waited for. e may be nil.
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

// onLoopback says whether host is localhost or an address of 127.0.0.0/8 or
// ::1. Other names are not looked up: what they stand for is up to whoever
// answers for them.
func onLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// localOnly refuses what a web page that is open in a browser on this host may
// send: requests for its own name, which it has made to stand for a loopback
// address (DNS rebinding), and those that the browser says come from another
// site, whose answer the page would not see but which would be done.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch site := r.Header.Get("Sec-Fetch-Site"); {
		case !onLoopback(hostname(r.Host)):
			httpjson.Fail(w, httpjson.Forbidden, "this is served to 127.0.0.1, [::1] and localhost only")
		case site != "" && site != "none" && site != "same-origin", !ownOrigin(r):
			httpjson.Fail(w, httpjson.Forbidden, "this is not served to other sites' pages")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownOrigin says whether a request comes from a page of this address, or from no page.
func ownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin == "" || err == nil && u.Host == r.Host
}

// hostname is a Host header without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
