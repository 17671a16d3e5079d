package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/live"
	"github.com/crier-ws/crier/metrics"
)

// service is a server with all parts that the flags configure. All fields are owned by the goroutine of run.
type service struct {
	*serveCmd
	streams
	logger   *slog.Logger
	signals  *signalWatch
	limit    uint64 // Of open files.
	profiles *endpoint
	lns      sockets
	cfg      broadcast.Config
	adminCfg admin.Config

	srv  *broadcast.Server // Set by open.
	node member            // Set by open; nil without --cluster.
}

// run opens the server, serves until a signal or an error, and drains.
func (v *service) run() error {
	err := v.open()
	defer leave(v.node)
	if err != nil {
		err = errors.Join(err, v.lns.close())
		if stopped := (*interruptedError)(nil); errors.As(err, &stopped) {
			v.logger.Info("stopped while waiting for NATS", "signal", stopped.sig.String())
			return nil
		}
		return err
	}
	back := v.startAdmin()
	defer back.close()
	v.logger.Info("serving", slices.Concat([]any{
		"version", version(), "addr", v.lns.addr(), "path", v.Path, "connections", v.srv.Stats().MaxConns,
		"fd_limit", v.limit, "max_message", v.cfg.MaxMessageBytes,
	}, v.attrs(v.node), back.attrs(), v.profiles.attrs())...)
	if url := pageURL(v.lns.public[0], v.Path); v.cfg.Page != nil && url != "" {
		v.logger.Info("to try it out, open this page in two tabs of a browser", "page", url)
	}
	return serve(v.srv, v.lns, v.signals, v.node, v.grace(v.cfg), v.logger)
}

// open sets v.srv. With --cluster it waits for NATS first, while a stand-in answers clients.
func (v *service) open() (err error) {
	if len(v.Cluster) == 0 {
		return v.makeServer()
	}
	w := newStandIn(v.lns, v.cfg, v.adminCfg, v.logger)
	defer w.close()
	var node member
	err = v.signals.during(func(ctx context.Context) (err error) {
		node, err = v.join(ctx, &v.cfg, w.waiting, v.logger)
		return err
	})
	if err != nil {
		return err
	}
	v.node = node
	if err := v.makeServer(); err != nil {
		return err
	}
	err = v.signals.during(func(ctx context.Context) error { return v.warmUp(ctx, node, v.srv) })
	if stopped := (*interruptedError)(nil); errors.As(err, &stopped) && stopped.running {
		v.node = nil // A member cannot be closed while it starts.
	}
	return err
}

func (v *service) makeServer() (err error) {
	v.adminCfg.MaxMessageBytes = v.cfg.MaxMessageBytes
	v.srv, err = v.server(v.cfg, v.adminCfg, v.lns.admin != nil, v.logger)
	return err
}

// startAdmin serves back ends if there is an address for them, and returns nil otherwise.
func (v *service) startAdmin() *endpoint {
	metricsCfg := metrics.Config{Version: version(), MemoryBytes: int64(v.Memory), LogDropped: v.dropped}
	if node := v.node; node != nil {
		v.adminCfg.Ready, v.adminCfg.Cluster = node.Ready, node.Presence()
		addMemberMetrics(&metricsCfg, node)
		v.adminCfg.Live.Cluster = func() live.Cluster { return clusterState(node, v.ClusterStream) }
	}
	v.adminCfg.Profiles = pprofMux()
	v.adminCfg.Metrics = metrics.Handler(v.srv, metricsCfg)
	return startAdmin(v.lns.admin, v.srv, v.adminCfg, nil, v.logger)
}
