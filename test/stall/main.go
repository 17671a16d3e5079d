// Command stall is a server for tests of those who should notice that a shard stands still: one does at the end of
// a connection after POST /stall to the admin address, until POST /go-on.
//
//	stall ADDRESS ADMIN-ADDRESS
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/metrics"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(addr, adminAddr string) error {
	log := &blockingLog{Handler: slog.DiscardHandler, goOn: make(chan struct{})}
	cfg := broadcast.DefaultConfig()
	cfg.Logger = slog.New(log)
	srv, err := broadcast.New(cfg)
	if err != nil {
		return err
	}
	ln, err := broadcast.Listen(addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stall", func(http.ResponseWriter, *http.Request) { log.armed.Store(true) })
	mux.HandleFunc("POST /go-on", func(http.ResponseWriter, *http.Request) { close(log.goOn) })
	mux.Handle("/", admin.New(srv, admin.Config{MaxMessageBytes: 1 << 20, Metrics: metrics.Handler(srv, metrics.Config{})}))
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(ln) }()
	go func() { failed <- http.ListenAndServe(adminAddr, mux) }()
	return <-failed
}

// blockingLog takes no line of the end of a connection, which its shard writes, once it is armed.
type blockingLog struct {
	slog.Handler
	armed atomic.Bool
	goOn  chan struct{}
}

// Enabled and Handle are slog.Handler's.
func (l *blockingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *blockingLog) Handle(_ context.Context, r slog.Record) error {
	if l.armed.Load() && r.Message == "disconnected" {
		<-l.goOn
	}
	return nil
}
