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

// clusterFlags make servers one.
type clusterFlags struct {
	Cluster            flags.List   `placeholder:"URL,..." help:"URL of a NATS server, such as nats://10.0.0.1:4222: form a cluster with all servers that use the same stream of NATS JetStream; repeat it or separate by commas for more (default: off)."`
	ClusterMode        flags.Choice `default:"ordered" enum:"ordered,fast" placeholder:"ordered|fast" help:"ordered: one order and the same IDs on all servers, through the stream. fast: without JetStream; each server delivers its own clients' messages at once, and the others get them soon after, or lose them (default: ordered)."`
	ClusterStream      string       `default:"CRIER" placeholder:"NAME" help:"Name of the stream, which is created if it does not exist. With fast, the prefix of the subjects (default: CRIER)."`
	ClusterReplicas    flags.Count  `placeholder:"N" help:"How many NATS servers store the stream; 0 for 1, or for what an existing stream has (default: 0)."`
	ClusterMaxBytes    flags.Size   `placeholder:"SIZE" help:"Most bytes that the stream keeps; 0 for no bound, or for what an existing stream has (default: 0)."`
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

// natsURL is what a value of --cluster has to be.
const natsURL = "a URL as nats://HOST:4222 or tls://HOST:4222, with a port from 1 to 65535; " +
	"in a user name, password or token write / as %2F, ? as %3F and # as %23"

// natsFault returns what is wrong with a URL of NATS, or "". It quotes no part of the URL, because each may be a part of a
// secret: where a token contains a slash, the rest of it looks like the path.
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

// Bounds of NATS for streams.
const (
	maxReplicas  = 5
	minStreamAge = 100 * time.Millisecond
)

// validate finds what is wrong with the flags. channels is --channels.
func (f *clusterFlags) validate(channels bool, check func(ok bool, flag string, value any, want string)) {
	f.validateAlone(check)
	for _, s := range f.Cluster {
		fault := natsFault(s)
		check(fault == "", "cluster", fault, natsURL)
	}
	bad := func(ch rune) bool {
		return unicode.IsControl(ch) || unicode.IsSpace(ch) || strings.ContainsRune(`.*>/\`, ch)
	}
	check(f.ClusterStream != "" && len(f.ClusterStream) <= 255 && !strings.ContainsFunc(f.ClusterStream, bad), "cluster-stream", fmt.Sprintf("%q", f.ClusterStream), "a name of at most 255 bytes, without spaces, dots, slashes, wildcards and control characters")
	check((f.ClusterCert == "") == (f.ClusterKey == ""), "cluster-cert", fmt.Sprintf("%q", f.ClusterCert), "--cluster-key as well, and neither alone")
	check(time.Duration(f.ClusterTimeout) >= time.Millisecond, "cluster-timeout", time.Duration(f.ClusterTimeout), "at least 1ms")
	check(f.ClusterReplicas <= maxReplicas, "cluster-replicas", int(f.ClusterReplicas), "at most 5")
	check(f.ClusterMaxAge == 0 || time.Duration(f.ClusterMaxAge) >= minStreamAge, "cluster-max-age", time.Duration(f.ClusterMaxAge),
		"at least 100ms, or 0 for ever")
	check(f.ClusterCredentials == "" || f.ClusterNKey == "", "cluster-nkey", fmt.Sprintf("%q", f.ClusterNKey), "no --cluster-credentials, which say who crier is, too")
	check(f.ClusterLinger == nil || channels, "cluster-linger", "given", "--channels as well")
	check(f.ClusterLinger == nil || *f.ClusterLinger > 0, "cluster-linger", time.Duration(deref(f.ClusterLinger)), "more than 0")
	check(f.ClusterHold == nil || *f.ClusterHold > 0, "cluster-hold", time.Duration(deref(f.ClusterHold)), "more than 0")
	if f.ClusterMode == "fast" {
		const want = "the stream that --cluster-mode ordered has"
		check(f.ClusterReplicas == 0, "cluster-replicas", int(f.ClusterReplicas), want)
		check(f.ClusterMaxBytes == 0, "cluster-max-bytes", int(f.ClusterMaxBytes), want)
		check(f.ClusterMaxAge == 0, "cluster-max-age", time.Duration(f.ClusterMaxAge), want)
		check(f.ClusterHold == nil, "cluster-hold", time.Duration(deref(f.ClusterHold)), "--cluster-mode ordered, as nobody waits in fast")
	}
}

// validateAlone rejects flags that differ from their defaults and need --cluster. Otherwise a server that was meant to
// join a cluster would run alone.
func (f *clusterFlags) validateAlone(check func(ok bool, flag string, value any, want string)) {
	if len(f.Cluster) > 0 {
		return
	}
	for _, flag := range []struct {
		name  string
		given bool
	}{
		{"cluster-mode", f.ClusterMode != "ordered"}, {"cluster-stream", f.ClusterStream != "CRIER"},
		{"cluster-replicas", f.ClusterReplicas != 0}, {"cluster-max-bytes", f.ClusterMaxBytes != 0}, {"cluster-max-age", f.ClusterMaxAge != 0},
		{"cluster-credentials", f.ClusterCredentials != ""}, {"cluster-nkey", f.ClusterNKey != ""},
		{"cluster-ca", f.ClusterCA != ""}, {"cluster-cert", f.ClusterCert != ""}, {"cluster-key", f.ClusterKey != ""},
		{"cluster-timeout", time.Duration(f.ClusterTimeout) != 5*time.Second},
		{"cluster-linger", f.ClusterLinger != nil}, {"cluster-hold", f.ClusterHold != nil},
	} {
		check(!flag.given, flag.name, "given", "--cluster as well")
	}
}

// member is a server's part in a cluster, of either mode.
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

// join makes the server of a Config part of the cluster. It waits for NATS until ctx is done, and calls waiting with the
// reason for the wait, as warmUp does.
func (f *clusterFlags) join(ctx context.Context, cfg *broadcast.Config, waiting func(error), logger *slog.Logger) (member, error) {
	as, needs, larger := f.joinOrdered, "with JetStream (nats-server -js) and a majority, ", "raise max_payload of NATS"
	if f.ClusterMode == "fast" {
		as, needs, larger = f.joinFast, "", larger+", but --cluster-mode fast takes 16 MiB at the most"
	}
	table := 0
	if cfg.MemoryBytes == 0 { // Else it is in f.memory.
		table = 256 << 20
	}
	m, err := as(ctx, cfg, cluster.Config{
		Channels: cfg.Channels, Linger: time.Duration(deref(f.ClusterLinger)), // 0 is a minute.
		Servers: f.Cluster, Stream: f.ClusterStream,
		Credentials: f.ClusterCredentials, NKey: f.ClusterNKey, CA: f.ClusterCA, Cert: f.ClusterCert, Key: f.ClusterKey,
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
		if cfg.MaxMessageBytes-most >= 1<<10 { // With the defaults of both it is the headers.
			logger.Warn("NATS takes smaller messages than --max-message says", "max_message", most, "hint", larger)
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
			history *= 8 // As broadcast does.
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
	cfg.Replication.HoldTime = time.Duration(deref(f.ClusterHold)) // 0 is 30 s.
	return c, nil
}

// attrs is what the log says of a member when it begins to serve. c may be nil.
func (f *clusterFlags) attrs(c member) []any {
	if c == nil {
		return nil
	}
	return []any{"cluster_mode", f.ClusterMode, "cluster_stream", f.ClusterStream, "nats", c.NATS()}
}

// leave ends what join began: what is on its way to NATS is waited for, for a while. c may be nil.
func leave(c member) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Close(ctx)
}

// settle waits for a moment for what is published, to be delivered before connections are closed. c may be nil.
func settle(c member) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Settle(ctx)
}

// failed is c's Failed, or nil if c is.
func failed(c member) <-chan error {
	if c == nil {
		return nil
	}
	return c.Failed()
}

// tells has metrics tell of a member's part in the cluster.
func tells(cfg *metrics.Config, c member) {
	cfg.Ready, cfg.Cluster = c.Ready, c.Presence()
	switch c := c.(type) {
	case *cluster.Ordered:
		cfg.Stream = func() metrics.Stream { return metrics.Stream(c.Stats()) }
	case *cluster.Fast:
		cfg.Forwarding = func() metrics.Forwarding { return metrics.Forwarding(c.Stats()) }
	}
}

// clusterState is what the live page shows of a member of the cluster called name. It does not block.
func clusterState(c member, name string) live.Cluster {
	state := live.Cluster{Name: name, NATS: c.NATS(), Servers: c.Presence().Servers(), Connections: c.Presence().Connections()}
	if err := c.Ready(); err != nil {
		state.Problem = oneLine(err)
	}
	switch c := c.(type) {
	case *cluster.Ordered:
		stats := c.Stats()
		state.Mode, state.Waiting, state.Pending, state.Dropped = "ordered", stats.Waiting, stats.Pending, stats.Lost+stats.LeftOut
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

// memory is what being in a cluster may take up.
func (f *clusterFlags) memory() int {
	if f.ClusterMode == "fast" {
		return cluster.FastMemoryBytes
	}
	return cluster.OrderedMemoryBytes
}

// warmUp waits until the server has the history of the stream, or hears the others.
func (f *clusterFlags) warmUp(ctx context.Context, c member, srv *broadcast.Server) error {
	err := c.Start(ctx, srv)
	if err == nil {
		return nil
	}
	return hinted(err, "%s", f.hint(err, "is NATS well, and may crier use these subjects? See docs/operations.md"))
}
