package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/logqueue"
	"github.com/crier-ws/crier/internal/term"
	"github.com/crier-ws/crier/live"
	"golang.org/x/sys/unix"
)

// gcPercent is the setting of the garbage collector unless GOGC is set. Nearly all of the heap is long-lived
// connections, and log segments without pointers. So frequent collections cost little, and they lower the memory per
// connection: docs/architecture.md has the figures.
const gcPercent = 25

// reservedFDs is how many fds the process needs in addition to its connections: standard streams, listeners, epoll and
// event fds, the reserve, and some for handshakes that are refused.
const reservedFDs = 100

// Run serves until SIGTERM or SIGINT. kong calls it.
func (cmd *serveCmd) Run(ctx *kong.Context, s streams, parse reparse) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := cmd.logger(s)
	slog.SetDefault(logger) // Some packages log to the default logger.
	signals, err := cmd.watchSignals(parse, s, logger)
	if err != nil {
		return err
	}
	defer signals.stop()
	warnOfVariables(ctx.Model, logger)
	limit, err := raiseFDLimit()
	if err != nil {
		logger.Warn("the limit of open files stays as it is", "err", err, "fd_limit", limit)
	}
	profiles, err := startProfiles(cmd.Pprof, logger)
	if err != nil {
		return err
	}
	defer profiles.close()
	cfg := cmd.config(logger, limit)
	token, err := cmd.token()
	if err != nil {
		return err
	}
	if cfg.Authorize, err = cmd.authorize(logger); err != nil {
		return err
	}
	if err := cmd.files(); err != nil {
		return err
	}
	lns, err := cmd.openSockets(logger)
	if err != nil {
		return err
	}
	if cmd.Pprof == "" && lns.admin == nil {
		noSamples()
	}
	tracer, flushSpans, err := startTracing(cmd.OTLPEndpoint, logger)
	if err != nil {
		return errors.Join(err, lns.close())
	}
	defer flushSpans()
	adminCfg := admin.Config{
		Token: token, TracerProvider: tracer,
		Live: live.Config{Version: version(), Node: nodeName(), MemoryBytes: int64(cmd.Memory)},
	}
	cfg.Page = cmd.page(s.startedFromTerminal())
	v := &service{
		serveCmd: cmd, streams: s, logger: logger, signals: signals, limit: limit, profiles: profiles,
		lns: lns, cfg: cfg, adminCfg: adminCfg,
	}
	return v.run()
}

// server returns a server that may use the memory that the parts beside it leave.
func (cmd *serveCmd) server(
	cfg broadcast.Config, adminCfg admin.Config, withAdmin bool, logger *slog.Logger,
) (*broadcast.Server, error) {
	own, names := cmd.ownMemory(adminCfg, withAdmin, adminCfg.TracerProvider != nil)
	if err := leaveMemory(&cfg, own, names); err != nil {
		return nil, err
	}
	if cfg.MemoryBytes > 0 && own > 0 {
		logger.Info("memory of "+names, "bytes", own)
	}
	srv, err := broadcast.New(cfg)
	if err != nil {
		return nil, memoryFault(configFault(err), own, names)
	}
	if cmd.Memory > 0 {
		// Near the limit, the collector works harder. The plan has room for its usual pace.
		debug.SetMemoryLimit(int64(cmd.Memory))
		logger.Info("memory", "contract", int64(cmd.Memory), "plan", srv.Memory().String())
	}
	return srv, nil
}

// ownMemory returns how many bytes of --memory the parts beside the server may use, and the flags of these parts.
func (cmd *serveCmd) ownMemory(adminCfg admin.Config, withAdmin, withTracing bool) (own int, names string) {
	var on []string
	for _, part := range []struct {
		flag  string
		on    bool
		bytes int
	}{
		{"--admin", withAdmin, adminCfg.MemoryBytes()},
		{"--otlp-endpoint", withTracing, tracingMemory},
		{"--cluster", len(cmd.Cluster) > 0, cmd.clusterFlags.memory()},
	} {
		if part.on {
			own, on = own+part.bytes, append(on, part.flag)
		}
	}
	return own, strings.Join(on, " and ")
}

// leaveMemory subtracts own, the bytes that the parts called names may use, from the server's memory. Memory without a
// bound stays so.
func leaveMemory(cfg *broadcast.Config, own int, names string) error {
	if cfg.MemoryBytes == 0 {
		return nil
	}
	if cfg.MemoryBytes <= int64(own) {
		err := fmt.Errorf("--memory is %d, and %s alone may use %d", cfg.MemoryBytes, names, own)
		return hinted(wrongSetting(err), "%s", moreMemory)
	}
	cfg.MemoryBytes -= int64(own)
	return nil
}

// serve serves until a signal arrives or this server fails in the cluster, and then drains for grace at most. At a
// second signal, the process exits at once.
func serve(
	srv *broadcast.Server, lns sockets, signals *signalWatch, node member, grace time.Duration, logger *slog.Logger,
) error {
	ended := make(chan error, len(lns.public))
	for _, ln := range lns.public {
		go func() { ended <- srv.Serve(ln) }() // Stopped by Shutdown below; ended has room for each result.
	}
	notifier := startNotifier(srv, lns.addr(), logger)
	defer notifier.close()

	var serveErr error
	select {
	case serveErr = <-ended:
	case err := <-failed(node):
		serveErr = hinted(err, "start crier again; a service manager does so by itself")
		logger.Error("draining: this server has failed in the cluster", "err", err)
	case sig := <-signals.ending:
		logger.Info("draining", "signal", sig.String(), "open", srv.Stats().Open, "grace", grace)
		notifier.notifyStopping(grace)
		signals.exitAtNext(func(sig os.Signal) {
			logger.Error("second signal: exiting at once", "signal", sig.String(), "open", srv.Stats().Open)
		})
		settle(node)
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := srv.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		logger.Warn("some connections were cut off: their peers did not answer the close")
	}
	st := srv.Stats()
	logger.Info("stopped", "accepted", st.Accepted, "messages", st.Messages, "disconnects", st.Disconnects)
	return serveErr
}

func (cmd *serveCmd) setLevel(name flags.Choice) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		panic(err) // The flag's enum allows only what slog knows.
	}
	cmd.level.Set(level)
}

// logger returns the logger of serving. It reports dropped lines in the format of the log.
func (cmd *serveCmd) logger(s streams) *slog.Logger {
	cmd.setLevel(cmd.LogLevel)
	paint := term.PaintFor(s.log)
	newLogger := func(w io.Writer) *slog.Logger {
		opts := &slog.HandlerOptions{Level: &cmd.level}
		if cmd.LogFormat == "json" {
			return slog.New(slog.NewJSONHandler(w, opts))
		}
		return slog.New(slog.NewTextHandler(paint.Log(w), opts))
	}
	if q, ok := s.log.(*logqueue.Queue); ok {
		q.SetNotice(func(lines uint64) []byte {
			var notice bytes.Buffer
			newLogger(&notice).Error("lines of the log were dropped: they could not be written in time", "lines", lines)
			return notice.Bytes()
		})
	}
	return newLogger(s.log)
}

// raiseFDLimit raises the soft limit of open files to the hard limit, and returns the limit in effect: setrlimit(2).
func raiseFDLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("reading the fd limit: %w", err)
	}
	raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
		return limit.Cur, fmt.Errorf("raising the fd limit to %d: %w", limit.Max, err)
	}
	return limit.Max, nil
}
