package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster"
	"github.com/crier-ws/crier/internal/flags"
)

// clusterFlags make servers one.
type clusterFlags struct {
	Cluster            []string    `placeholder:"URL" help:"Be one with all servers that have the same stream of NATS JetStream, which they reach at these URLs, as nats://10.0.0.1:4222; repeat it or separate by commas for more (default: off)."`
	ClusterStream      string      `default:"CRIER" placeholder:"NAME" help:"The stream; it is made unless it is there (default: CRIER)."`
	ClusterReplicas    flags.Count `placeholder:"N" help:"How many servers of NATS have the stream; 0 is 1, or what it has if it is there (default: 0)."`
	ClusterMaxBytes    flags.Size  `placeholder:"SIZE" help:"What the stream keeps; 0 for no bound, or what it has if it is there (default: 0)."`
	ClusterMaxAge      flags.Span  `placeholder:"DURATION" help:"How long it keeps that; 0 for ever, or what it has if it is there (default: 0)."`
	ClusterCredentials string      `placeholder:"FILE" help:"Credentials for NATS: a user's JWT and seed."`
	ClusterNKey        string      `name:"cluster-nkey" placeholder:"FILE" help:"The seed of an NKey for NATS."`
	ClusterCA          string      `name:"cluster-ca" placeholder:"FILE" help:"Certificates that NATS' servers are trusted by; the URLs begin with tls://."`
	ClusterCert        string      `placeholder:"FILE" help:"Certificate of crier for NATS."`
	ClusterKey         string      `placeholder:"FILE" help:"Key of that certificate."`
	ClusterTimeout     flags.Span  `default:"5s" placeholder:"DURATION" help:"How long NATS may take to answer (default: 5s)."`
	ClusterLinger      flags.Span  `default:"1m" placeholder:"DURATION" help:"With --channels: how long a channel is still read from the stream when nobody is connected to it any more (default: 1m)."`
	ClusterHold        flags.Span  `default:"30s" placeholder:"DURATION" help:"How long who publishes waits while NATS takes nothing: then it is closed with 1013 (default: 30s)."`
}

// validate finds what is wrong with the flags.
func (f *clusterFlags) validate(check func(ok bool, flag string, value any, want string)) {
	for _, s := range f.Cluster {
		u, err := url.Parse(s)
		ok := err == nil && (u.Scheme == "nats" || u.Scheme == "tls") && u.Host != ""
		is := "not a URL" // A part of it may be a secret.
		if err == nil {
			is = fmt.Sprintf("of scheme %q and host %q", u.Scheme, u.Host)
		}
		check(ok, "cluster", is, "a URL as nats://HOST:4222 or tls://HOST:4222")
	}
	check(f.ClusterStream != "" && !strings.ContainsAny(f.ClusterStream, " .*>/\\\t\r\n"), "cluster-stream", fmt.Sprintf("%q", f.ClusterStream), "a name without spaces, dots, slashes and wildcards")
	check((f.ClusterCert == "") == (f.ClusterKey == ""), "cluster-cert", fmt.Sprintf("%q", f.ClusterCert), "--cluster-key as well, and neither alone")
	check(f.ClusterTimeout > 0, "cluster-timeout", time.Duration(f.ClusterTimeout), "more than 0")
	check(f.ClusterLinger > 0, "cluster-linger", time.Duration(f.ClusterLinger), "more than 0")
	check(f.ClusterHold > 0, "cluster-hold", time.Duration(f.ClusterHold), "more than 0")
}

// join makes the server of a Config a part of the cluster, or returns nil if there is none.
func (f *clusterFlags) join(cfg *broadcast.Config, logger *slog.Logger) (*cluster.Cluster, error) {
	if len(f.Cluster) == 0 {
		return nil, nil
	}
	history := cfg.RetainTotalBytes
	if history == 0 {
		history = max(cfg.RetainBytes, 8<<20)
		if cfg.Channels {
			history *= 8 // As broadcast does.
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Duration(f.ClusterTimeout))
	defer cancel()
	c, err := cluster.Open(ctx, cluster.Config{
		Servers: f.Cluster, Stream: f.ClusterStream, Replicas: int(f.ClusterReplicas), MaxBytes: int64(f.ClusterMaxBytes), MaxAge: time.Duration(f.ClusterMaxAge),
		Credentials: f.ClusterCredentials, NKey: f.ClusterNKey, CA: f.ClusterCA, Cert: f.ClusterCert, Key: f.ClusterKey,
		Timeout: time.Duration(f.ClusterTimeout), HistoryBytes: int64(history), HistoryAge: cfg.RetainAge, Channels: cfg.Channels, Linger: time.Duration(f.ClusterLinger), Logger: logger,
	})
	if err != nil {
		return nil, hinted(fmt.Errorf("--cluster: %w", err), "is NATS up, with JetStream (nats-server -js), and may crier use it? See docs/operations.md")
	}
	if most := c.MaxMessageBytes(); cfg.MaxMessageBytes > most {
		logger.Warn("NATS takes smaller messages than --max-message says", "max_message", most, "hint", "raise max_payload of NATS")
		cfg.MaxMessageBytes = most
	}
	cfg.Order, cfg.Epoch, cfg.HoldTime = c, c.Epoch(), time.Duration(f.ClusterHold)
	return c, nil
}

// leave ends what join began: what is on its way into the stream is waited for, for a while. c may be nil.
func leave(c *cluster.Cluster) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Close(ctx)
}

// failed is c's Failed, or nil if c is.
func failed(c *cluster.Cluster) <-chan error {
	if c == nil {
		return nil
	}
	return c.Failed()
}

// warmUp waits until the server has the history of the stream. Who connects meanwhile waits in the listener's queue.
func (f *clusterFlags) warmUp(c *cluster.Cluster, srv *broadcast.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return hinted(c.Start(ctx, srv), "the stream did not come within a minute: is NATS well?")
}
