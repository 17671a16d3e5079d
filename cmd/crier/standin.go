package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
	"github.com/crier-ws/crier/metrics"
)

const (
	// standInAfter is how long clients wait in the listener's queue, as in most starts, before a stand-in answers them.
	standInAfter = time.Second
	// tellEvery is how often the service manager hears that the start takes longer.
	tellEvery = 10 * time.Second
)

// standIn answers in the place of the server while that waits for NATS: clients get 503 with Retry-After, /readyz is
// 503 with the reason, and /livez is 200.
type standIn struct {
	lns      sockets
	cfg      broadcast.Config
	adminCfg admin.Config
	logger   *slog.Logger
	why      atomic.Pointer[error] // What is waited for, or nil.
	stop     chan struct{}
	stopped  chan struct{} // Closed when run has returned.
}

// newStandIn makes one that begins to answer on lns after a while, until close. lns stay open.
func newStandIn(lns sockets, cfg broadcast.Config, adminCfg admin.Config, logger *slog.Logger) *standIn {
	w := &standIn{
		lns: lns, cfg: cfg, adminCfg: adminCfg, logger: logger,
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	w.cfg.MemoryBytes, w.cfg.RetainBytes, w.cfg.RetainTotalBytes = 0, 0, 0 // Nothing is published.
	w.cfg.Page, w.cfg.Authorize = nil, nil                                 // Nobody is let in.
	w.cfg.OnConnect = func(*broadcast.Conn, *http.Request) error {
		return &broadcast.Refusal{Status: http.StatusServiceUnavailable, Reason: "this server is waiting for its cluster"}
	}
	w.adminCfg.Ready = w.reason
	go w.run() // Stopped and awaited by close.
	return w
}

// waiting notes what is waited for.
func (w *standIn) waiting(err error) { w.why.Store(&err) }

// reason returns what is waited for. It is never nil.
func (w *standIn) reason() error {
	if err := w.why.Load(); err != nil {
		return fmt.Errorf("waiting for NATS: %s", oneLine(*err))
	}
	return errors.New("waiting for NATS")
}

// close ends it.
func (w *standIn) close() {
	close(w.stop)
	<-w.stopped
}

func (w *standIn) run() {
	defer close(w.stopped)
	select {
	case <-w.stop:
		return
	case <-time.After(standInAfter):
	}
	end, err := w.answer()
	if err != nil {
		w.logger.Warn("clients have to wait for an answer until NATS is reachable", "err", err)
	} else {
		defer end()
	}
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	mgr := &manager{logger: w.logger}
	for {
		mgr.notify("STATUS="+oneLine(w.reason()), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (3*tellEvery).Microseconds()))
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
	}
}

// answer answers clients and back ends until end.
func (w *standIn) answer() (end func(), err error) {
	srv, err := broadcast.New(w.cfg)
	if err != nil {
		return nil, configFault(err)
	}
	shutdown := func() { _ = srv.Shutdown(context.Background()) } // No connection is open: it does not wait.
	for _, ln := range w.lns.public {
		own, err := reopened(ln)
		if err != nil {
			shutdown()
			return nil, err
		}
		go func() { _ = srv.Serve(own) }() // Ends with Shutdown.
	}
	if w.lns.admin == nil {
		return shutdown, nil
	}
	ln, err := reopened(w.lns.admin)
	if err != nil {
		shutdown()
		return nil, err
	}
	w.adminCfg.Metrics = metrics.Handler(srv, metrics.Config{Version: version(), Ready: w.reason})
	back := startAdmin(ln, srv, w.adminCfg, onlyProbes, w.logger)
	return func() {
		back.close()
		shutdown()
	}, nil
}

// onlyProbes passes probes and metrics on to next, and refuses all other requests for now.
func onlyProbes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/livez", "/readyz", "/metrics":
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "5")
			httpjson.Fail(w, httpjson.NotReady, "this server is waiting for its cluster: see /readyz")
		}
	})
}

// reopened returns a listener of its own on the same socket. The socket goes on listening when that is closed.
func reopened(ln net.Listener) (net.Listener, error) {
	socket, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("a listener %T has no file", ln)
	}
	f, err := socket.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}
