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
	// extendEvery is how often the service manager is asked for more time.
	extendEvery = 10 * time.Second
)

// standIn answers while the server waits for NATS: clients get 503 with Retry-After, /readyz is 503 with the reason,
// and /livez is 200.
type standIn struct {
	// Immutable after construction.
	lns      sockets
	cfg      broadcast.Config
	adminCfg admin.Config
	logger   *slog.Logger
	stop     chan struct{} // Closed by close.
	stopped  chan struct{} // Closed when run has returned.

	// Atomic: why the server waits, or nil. Written by waiting, read by reason.
	why atomic.Pointer[error]
}

// newStandIn starts a stand-in that answers on lns after standInAfter, until close. lns stay open.
func newStandIn(lns sockets, cfg broadcast.Config, adminCfg admin.Config, logger *slog.Logger) *standIn {
	w := &standIn{
		lns: lns, cfg: cfg, adminCfg: adminCfg, logger: logger,
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	w.cfg.MemoryBytes, w.cfg.RetainBytes, w.cfg.RetainTotalBytes = 0, 0, 0 // Nothing is published.
	w.cfg.Page, w.cfg.Authorize = nil, nil                                 // All clients are refused.
	w.cfg.OnConnect = func(*broadcast.Conn, *http.Request) error {
		return &broadcast.Refusal{Status: http.StatusServiceUnavailable, Reason: "this server is waiting for its cluster"}
	}
	w.adminCfg.Ready = w.reason
	go w.run() // Stopped and awaited by close.
	return w
}

// waiting sets the reason for which the server waits.
func (w *standIn) waiting(err error) { w.why.Store(&err) }

// reason returns why the server waits. It never returns nil.
func (w *standIn) reason() error {
	if err := w.why.Load(); err != nil {
		return fmt.Errorf("waiting for NATS: %s", oneLine(*err))
	}
	return errors.New("waiting for NATS")
}

// close stops answering, and waits for it.
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
		w.logger.Warn("clients get no answer until NATS is reachable", "err", err)
	} else {
		defer end()
	}
	ticker := time.NewTicker(extendEvery)
	defer ticker.Stop()
	notifier := &notifier{logger: w.logger}
	for {
		extend := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (3 * extendEvery).Microseconds())
		notifier.notify("STATUS="+oneLine(w.reason()), extend)
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
	}
}

// answer answers clients and back ends until end is called.
func (w *standIn) answer() (end func(), err error) {
	srv, err := broadcast.New(w.cfg)
	if err != nil {
		return nil, configFault(err)
	}
	shutdown := func() { _ = srv.Shutdown(context.Background()) } // Does not wait: no connection is open.
	for _, ln := range w.lns.public {
		own, err := reopened(ln)
		if err != nil {
			shutdown()
			return nil, err
		}
		go func() { _ = srv.Serve(own) }() // Stopped and awaited by shutdown.
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

// reopened returns a second listener on the same socket. The socket keeps listening after one of them is closed.
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
