package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster"
	"github.com/crier-ws/crier/cluster/presence"
	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/live"
	"github.com/crier-ws/crier/metrics"
)

// clusterFlags has the flags of joining a cluster. They are immutable after parsing.
type clusterFlags struct {
	Cluster            flags.List   `placeholder:"URL,..." help:"URL of a NATS server, such as nats://10.0.0.1:4222: form a cluster with all servers that use the same stream of NATS JetStream; repeat it or separate by commas for more (default: off)."`
	ClusterMode        flags.Choice `default:"ordered" enum:"ordered,fast" placeholder:"ordered|fast" help:"ordered: one order and the same IDs on all servers, through the stream. fast: without JetStream; each server delivers its own clients' messages at once, and the others get them soon after, or lose them (default: ordered)."`
	ClusterStream      string       `default:"CRIER" placeholder:"NAME" help:"Name of the stream, which is created if it does not exist. With fast, the prefix of the subjects (default: CRIER)."`
	ClusterReplicas    flags.Count  `placeholder:"N" help:"How many NATS servers store the stream; 0 for 1, or for what an existing stream has (default: 0)."`
	ClusterMaxBytes    flags.Size   `placeholder:"SIZE" help:"Most bytes that the stream keeps; 0 for no limit, or for what an existing stream has (default: 0)."`
	ClusterMaxAge      flags.Span   `placeholder:"DURATION" help:"How long the stream keeps a message; 0 for ever, or for what an existing stream has (default: 0)."`
	ClusterCredentials string       `placeholder:"FILE" help:"Credentials for NATS: a user's JWT and seed."`
	ClusterNKey        string       `name:"cluster-nkey" placeholder:"FILE" help:"The seed of an NKey for NATS."`
	ClusterCA          string       `name:"cluster-ca" placeholder:"FILE" help:"CA certificates to verify NATS servers with; the URLs must begin with tls://."`
	ClusterCert        string       `placeholder:"FILE" help:"Certificate of crier for NATS."`
	ClusterKey         string       `placeholder:"FILE" help:"Key of that certificate."`
	ClusterTimeout     flags.Span   `default:"5s" placeholder:"DURATION" help:"How long NATS may take to answer (default: 5s)."`
	ClusterLinger      *flags.Span  `placeholder:"DURATION" help:"With --channels: how long this server still receives a channel's messages after the last connection to the channel has ended (default: 1m)."`
	ClusterHold        *flags.Span  `placeholder:"DURATION" help:"How long publishers may block while NATS is unavailable before they are closed with 1013 (default: 30s)."`
}

// natsURL describes the values of --cluster.
const natsURL = "a URL such as nats://HOST:4222 or tls://HOST:4222, with a port from 1 to 65535; " +
	"in a user name, password or token write / as %2F, ? as %3F and # as %23"

// natsFault returns what is wrong with a URL of NATS, or "". It does not quote the URL, any part of which may belong
// to a secret: if a token contains a slash, the rest of the token looks like the path.
func natsFault(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "not a URL"
	case u.Scheme != "nats" && u.Scheme != "tls":
		return "a URL of another scheme"
	case strings.Trim(u.Path, "/") != "" || u.RawQuery+u.Fragment != "":
		return "a URL with a path, a query or a fragment"
	case !hasAddress(u):
		return "a URL without a host, or with a wrong port"
	}
	return ""
}

// Bounds that NATS sets for streams.
const (
	maxReplicas  = 5
	minStreamAge = 100 * time.Millisecond
)

// validate calls check with each condition that the flags must meet. channels is --channels.
func (f *clusterFlags) validate(channels bool, check checkFunc) {
	f.validateAlone(check)
	for _, s := range f.Cluster {
		fault := natsFault(s)
		check(fault == "", "cluster", fault, natsURL)
	}
	bad := func(ch rune) bool {
		return unicode.IsControl(ch) || unicode.IsSpace(ch) || strings.ContainsRune(`.*>/\`, ch)
	}
	isName := f.ClusterStream != "" && len(f.ClusterStream) <= 255 && !strings.ContainsFunc(f.ClusterStream, bad)
	check(isName, "cluster-stream", fmt.Sprintf("%q", f.ClusterStream),
		"a name of at most 255 bytes, without spaces, dots, slashes, wildcards and control characters")
	check((f.ClusterCert == "") == (f.ClusterKey == ""), "cluster-cert", fmt.Sprintf("%q", f.ClusterCert),
		"--cluster-key as well, and neither alone")
	check(time.Duration(f.ClusterTimeout) >= time.Millisecond, "cluster-timeout", time.Duration(f.ClusterTimeout),
		"at least 1ms")
	check(f.ClusterReplicas <= maxReplicas, "cluster-replicas", int(f.ClusterReplicas), "at most 5")
	check(f.ClusterMaxAge == 0 || time.Duration(f.ClusterMaxAge) >= minStreamAge, "cluster-max-age",
		time.Duration(f.ClusterMaxAge), "at least 100ms, or 0 for ever")
	check(f.ClusterCredentials == "" || f.ClusterNKey == "", "cluster-nkey", fmt.Sprintf("%q", f.ClusterNKey),
		"no --cluster-credentials, which identify crier as well")
	check(f.ClusterLinger == nil || channels, "cluster-linger", "given", "--channels as well")
	check(f.ClusterLinger == nil || *f.ClusterLinger > 0, "cluster-linger", time.Duration(deref(f.ClusterLinger)),
		"more than 0")
	check(f.ClusterHold == nil || *f.ClusterHold > 0, "cluster-hold", time.Duration(deref(f.ClusterHold)), "more than 0")
	if f.ClusterMode == "fast" {
		const want = "--cluster-mode ordered, because fast has no stream"
		check(f.ClusterReplicas == 0, "cluster-replicas", int(f.ClusterReplicas), want)
		check(f.ClusterMaxBytes == 0, "cluster-max-bytes", int(f.ClusterMaxBytes), want)
		check(f.ClusterMaxAge == 0, "cluster-max-age", time.Duration(f.ClusterMaxAge), want)
		check(f.ClusterHold == nil, "cluster-hold", time.Duration(deref(f.ClusterHold)),
			"--cluster-mode ordered, because publishers do not block in fast")
	}
}

// validateAlone rejects flags that need --cluster if it is not given. Otherwise a server that was meant to join a
// cluster would run alone.
func (f *clusterFlags) validateAlone(check checkFunc) {
	if len(f.Cluster) > 0 {
		return
	}
	for _, flag := range []struct {
		name  string
		given bool
	}{
		{"cluster-mode", f.ClusterMode != "ordered"}, {"cluster-stream", f.ClusterStream != "CRIER"},
		{"cluster-replicas", f.ClusterReplicas != 0}, {"cluster-max-bytes", f.ClusterMaxBytes != 0},
		{"cluster-max-age", f.ClusterMaxAge != 0},
		{"cluster-credentials", f.ClusterCredentials != ""}, {"cluster-nkey", f.ClusterNKey != ""},
		{"cluster-ca", f.ClusterCA != ""}, {"cluster-cert", f.ClusterCert != ""}, {"cluster-key", f.ClusterKey != ""},
		{"cluster-timeout", time.Duration(f.ClusterTimeout) != 5*time.Second},
		{"cluster-linger", f.ClusterLinger != nil}, {"cluster-hold", f.ClusterHold != nil},
	} {
		check(!flag.given, flag.name, "given", "--cluster as well")
	}
}

// member is the part of this server in a cluster: a *cluster.Ordered or a *cluster.Fast, which document the methods.
type member interface {
	MaxMessageBytes() int
	Start(ctx context.Context, srv *broadcast.Server) error
	Ready() error
	Failed() <-chan error
	Presence() *presence.Presence
	Settle(ctx context.Context)
	Close(ctx context.Context)
	NATS() string
}

// join makes the server of a Config a member of the cluster, and adapts cfg. It waits for NATS until ctx is done, and
// calls waiting with the reason for each wait; so does warmUp.
func (f *clusterFlags) join(
	ctx context.Context, cfg *broadcast.Config, waiting func(error), logger *slog.Logger,
) (member, error) {
	open, needs, larger := f.joinOrdered, "with JetStream (nats-server -js) and a majority, ", "raise max_payload of NATS"
	if f.ClusterMode == "fast" {
		open, needs, larger = f.joinFast, "", larger+", but --cluster-mode fast takes 16 MiB at most"
	}
	table := 0
	if cfg.MemoryBytes == 0 { // Otherwise f.memory includes the table.
		table = 256 << 20
	}
	m, err := open(ctx, cfg, cluster.Config{
		Channels: cfg.Channels, Linger: time.Duration(deref(f.ClusterLinger)), // 0 means a minute.
		Servers: f.Cluster, Stream: f.ClusterStream,
		Credentials: f.ClusterCredentials, NKey: f.ClusterNKey,
		CA: f.ClusterCA, Cert: f.ClusterCert, Key: f.ClusterKey,
		Timeout: time.Duration(f.ClusterTimeout), PresenceBytes: table, Waiting: waiting, Logger: logger,
	})
	if err != nil {
		hint := f.hint(err, "check that NATS is up, "+needs+"and that crier may use it: see docs/operations.md")
		if err = fmt.Errorf("--cluster: %w", err); contradictsStream(err) {
			err = wrongSetting(err)
		}
		return nil, hinted(err, "%s", hint)
	}
	if most := m.MaxMessageBytes(); cfg.MaxMessageBytes > most {
		if cfg.MaxMessageBytes-most >= 1<<10 { // With the defaults of both, only the headers are missing.
			logger.Warn("NATS accepts only messages smaller than --max-message", "max_message", most, "hint", larger)
		}
		cfg.MaxMessageBytes = most
	}
	return m, nil
}

func (f *clusterFlags) joinFast(ctx context.Context, cfg *broadcast.Config, with cluster.Config) (member, error) {
	c, err := cluster.OpenFast(ctx, cluster.FastConfig{Config: with})
	if err != nil {
		return nil, err
	}
	cfg.Replication = c.Replication()
	return c, nil
}

func (f *clusterFlags) joinOrdered(ctx context.Context, cfg *broadcast.Config, with cluster.Config) (member, error) {
	history := cfg.RetainTotalBytes
	if history == 0 {
		history = max(cfg.RetainBytes, 8<<20)
		if cfg.Channels {
			history *= 8 // The default of broadcast.
		}
	}
	c, err := cluster.OpenOrdered(ctx, cluster.OrderedConfig{
		Config: with, Replicas: int(f.ClusterReplicas), MaxBytes: int64(f.ClusterMaxBytes),
		MaxAge: time.Duration(f.ClusterMaxAge), HistoryBytes: int64(history), HistoryAge: cfg.RetainAge,
	})
	if err != nil {
		return nil, err
	}
	cfg.Replication = c.Replication()
	cfg.Replication.HoldTime = time.Duration(deref(f.ClusterHold)) // 0 means 30 s.
	return c, nil
}

// attrs returns the attributes of a member for the log line "serving". c may be nil.
func (f *clusterFlags) attrs(c member) []any {
	if c == nil {
		return nil
	}
	return []any{"cluster_mode", f.ClusterMode, "cluster_stream", f.ClusterStream, "nats", c.NATS()}
}

// leave closes a member. It waits up to 2 s for messages on their way to NATS. c may be nil.
func leave(c member) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Close(ctx)
}

// settle waits up to 2 s until published messages are delivered, before connections are closed. c may be nil.
func settle(c member) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Settle(ctx)
}

// failed returns c.Failed(), or nil if c is nil.
func failed(c member) <-chan error {
	if c == nil {
		return nil
	}
	return c.Failed()
}

// addMemberMetrics adds a member of a cluster to the metrics.
func addMemberMetrics(cfg *metrics.Config, c member) {
	cfg.Ready, cfg.Cluster = c.Ready, c.Presence()
	switch c := c.(type) {
	case *cluster.Ordered:
		cfg.Stream = func() metrics.Stream { return metrics.Stream(c.Stats()) }
	case *cluster.Fast:
		cfg.Forwarding = func() metrics.Forwarding { return metrics.Forwarding(c.Stats()) }
	}
}

// clusterState returns what the live page shows of a member of the cluster called name. It does not block.
func clusterState(c member, name string) live.Cluster {
	others := c.Presence()
	state := live.Cluster{Name: name, NATS: c.NATS(), Servers: others.Servers(), Connections: others.Connections()}
	if err := c.Ready(); err != nil {
		state.Problem = oneLine(err)
	}
	switch c := c.(type) {
	case *cluster.Ordered:
		stats := c.Stats()
		state.Mode, state.Waiting, state.Pending = "ordered", stats.Waiting, stats.Pending
		state.Dropped = stats.Lost + stats.LeftOut
	case *cluster.Fast:
		stats := c.Stats()
		state.Mode = "fast"
		for _, byReason := range []map[string]uint64{stats.DroppedOut, stats.DroppedIn} {
			for _, n := range byReason {
				state.Dropped += n
			}
		}
	}
	return state
}

// memory returns how many bytes a member of a cluster may use.
func (f *clusterFlags) memory() int {
	if f.ClusterMode == "fast" {
		return cluster.FastMemoryBytes
	}
	return cluster.OrderedMemoryBytes
}

// warmUp waits until the server has the history of the stream (ordered) or is connected to the other servers (fast).
func (f *clusterFlags) warmUp(ctx context.Context, c member, srv *broadcast.Server) error {
	err := c.Start(ctx, srv)
	if err == nil {
		return nil
	}
	return hinted(err, "%s", f.hint(err,
		"check that NATS is healthy and that crier may use these subjects: see docs/operations.md"))
}
