package main

import (
	"log/slog"
	"math"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/live"
)

// serveCmd has the flags of serving. They are immutable after parsing, except level and authFlags.current.
type serveCmd struct {
	Config settingsFile `placeholder:"FILE" help:"TOML file with flags, such as max-message = \"2MiB\"; see crier config --template."`

	Listen string `default:":18000" placeholder:"HOST:PORT" help:"Address to listen on; without a host, all interfaces. Port 0 picks a free one."`
	Path   string `placeholder:"/PATH" help:"Serve this path only; others get 404. Without it, any path is served."`

	Channels bool `help:"The path names a channel, such as /news/sport: clients get only what is published to their own channel (default: off; all get everything)."`

	Greeting   string     `empty:"" default:"${greeting}" placeholder:"TEXT" help:"Text that each connection gets first; empty for none (default: ${greeting})."`
	MaxMessage flags.Size `default:"1MiB" placeholder:"SIZE" help:"Largest message; a larger one closes its sender with 1009 (default: 1MiB)."`

	Compress    bool       `help:"Accept clients' offers of permessage-deflate; each message is compressed once for all clients (default: off)."`
	CompressMin flags.Size `default:"512B" placeholder:"SIZE" help:"Smallest message that is compressed (default: 512 bytes)."`

	Retain      *flags.Size  `placeholder:"SIZE" help:"How far a connection may fall behind (default: 8MiB, or twice --max-message if that is more)."`
	RetainTotal flags.Size   `placeholder:"SIZE" help:"With --channels: size of the messages that are kept in all channels together; the oldest are dropped first (default: 8 times --retain)."`
	RetainAge   flags.Span   `placeholder:"DURATION" help:"How long messages are kept; 0 for until their room is needed (default: 0)."`
	Slow        flags.Choice `default:"close" enum:"close,skip" placeholder:"close|skip" help:"What to do with a connection that falls further behind than --retain: close it with 1008, or skip to the newest message (default: close)."`

	PingInterval     flags.Span  `default:"30s" placeholder:"DURATION" help:"How often each connection is pinged; 0 for never (default: 30s)."`
	PingTimeout      *flags.Span `placeholder:"DURATION" help:"How long a ping may stay unanswered before the connection is dropped; 0 for ever (default: twice --ping-interval)."`
	HandshakeTimeout flags.Span  `default:"10s" placeholder:"DURATION" help:"How long a handshake may take (default: 10s)."`
	Drain            flags.Span  `default:"5s" placeholder:"DURATION" help:"Time over which connections are closed after SIGTERM or SIGINT (default: 5s)."`

	Origin  flags.List   `placeholder:"ORIGIN,..." help:"Let only pages of this origin connect, such as https://example.com, https://*.example.com or file://; repeat it or separate by commas for more. Requests that do not come from a browser's page are not affected (default: all)."`
	Publish flags.Choice `default:"all" enum:"all,none" placeholder:"all|none" help:"Which clients may publish: all, or none; with none, a client that sends is closed with 1008 (default: all)."`

	Rate       flags.Rate   `placeholder:"N" help:"Messages a second that each connection may publish; 0 for no limit (default: 0)."`
	Burst      flags.Count  `placeholder:"N" help:"Messages that a connection may publish at once after a pause (default: a second's worth)."`
	RateBytes  flags.Size   `placeholder:"SIZE" help:"Bytes a second that each connection may publish; 0 for no limit (default: 0)."`
	BurstBytes flags.Size   `placeholder:"SIZE" help:"Bytes that a connection may publish at once after a pause; at least --max-message (default: a second's worth)."`
	OverRate   flags.Choice `default:"hold" enum:"hold,close" placeholder:"hold|close" help:"What to do with a connection that publishes more: hold reads it more slowly, close closes it with 1008 (default: hold)."`

	MaxConnsPerIP  flags.Count    `name:"max-conns-per-ip" placeholder:"N" help:"Most connections from one IPv4 address or IPv6 /64 network; more get 429. 0 for no limit (default: 0)."`
	TrustedProxies flags.Networks `placeholder:"CIDR,..." help:"Networks or addresses of proxies that are trusted to report the client's address in X-Forwarded-For or a PROXY header, such as 10.0.0.0/8; repeat it or separate by commas for more (default: none)."`
	ProxyProtocol  bool           `help:"Connections of --trusted-proxies start with a PROXY protocol header, version 1 or 2 (default: off)."`

	Memory   flags.Size  `placeholder:"SIZE" help:"Memory that the process itself may use, such as 4GiB: limits connections, kept messages and handshakes; clients beyond the limits get 503 or 1013. 0 for no limit (default: 0)."`
	MaxConns flags.Count `placeholder:"N" help:"Most open connections; more get 503. 0 is as many as the fd limit allows (default: 0)."`

	pageFlag
	authFlags
	adminFlags
	clusterFlags

	level slog.LevelVar // Atomic: written at the start and at SIGHUP, read by the logger.

	LogFormat flags.Choice `default:"text" enum:"text,json" placeholder:"text|json" help:"Form of the log, on standard error (default: text)."`
	LogLevel  flags.Choice `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Lowest level that is logged: debug, info, warn or error (default: info). Connects and disconnects are debug."`

	SlowPass flags.Span `default:"1s" placeholder:"DURATION" help:"A pass writes new messages to connections; log what it did if it took longer than this, 0 for never (default: 1s)."`

	Pprof loopback `empty:"" placeholder:"HOST:PORT" help:"Serve profiles under /debug/pprof/ on this address, which must be a loopback address; --admin serves them without this flag; port 0 picks a free one (default: off)."`
}

// Help is shown by --help, between the one-line help and the flags.
func (*serveCmd) Help() string { return description }

// grace returns how long Shutdown may take in all: the time of the drain, the time in which peers answer the close, and
// some ticks of the server's clock.
func (cmd *serveCmd) grace(cfg broadcast.Config) time.Duration {
	return cfg.DrainTime + cfg.CloseTimeout + time.Second
}

// config returns the server's configuration. It allows at most as many connections as limit, the limit of open files.
func (cmd *serveCmd) config(logger *slog.Logger, limit uint64) broadcast.Config {
	cfg := cmd.configured()
	cfg.Logger = logger
	allowed := cmd.allowedConns(limit)
	if allowed <= 1 {
		logger.Warn("the limit of open files leaves room for only one connection", "fd_limit", limit, "hint", raiseFiles)
	}
	if cfg.MaxConns > allowed {
		logger.Warn("--max-conns is more than the limit of open files allows", "max_conns", cfg.MaxConns,
			"allowed", allowed, "fd_limit", limit, "hint", raiseFiles)
	}
	if cfg.MaxConns == 0 || cfg.MaxConns > allowed {
		cfg.MaxConns = allowed
	}
	return cfg
}

const raiseFiles = "raise it with ulimit -n or LimitNOFILE="

// allowedConns returns how many connections the limit of open files allows: at least one.
func (cmd *serveCmd) allowedConns(limit uint64) int {
	reserved := uint64(reservedFDs)
	if cmd.Admin != "" {
		reserved += live.MaxFDs + maxIdle
	}
	if limit <= reserved {
		return 1
	}
	return int(min(limit-reserved, math.MaxInt32))
}

// configured returns the server's configuration as the flags give it. It does not depend on the limits of this process.
func (cmd *serveCmd) configured() broadcast.Config {
	cfg := broadcast.Config{
		Path:             cmd.Path,
		Channels:         cmd.Channels,
		RetainTotalBytes: int(cmd.RetainTotal),
		RetainAge:        time.Duration(cmd.RetainAge),
		Greeting:         cmd.Greeting,
		MaxMessageBytes:  int(cmd.MaxMessage),
		Compress:         cmd.Compress,
		CompressMinBytes: max(1, int(cmd.CompressMin)), // 0 would be the default.
		PingInterval:     time.Duration(cmd.PingInterval),
		HandshakeTimeout: time.Duration(cmd.HandshakeTimeout),
		CloseTimeout:     3 * time.Second,
		DrainTime:        time.Duration(cmd.Drain),
		MaxConns:         int(cmd.MaxConns),
		MemoryBytes:      int64(cmd.Memory),
		Origins:          cmd.Origin,
		ReceiveOnly:      cmd.Publish == "none",
		Rate:             float64(cmd.Rate),
		Burst:            int(cmd.Burst),
		RateBytes:        float64(cmd.RateBytes),
		BurstBytes:       int(cmd.BurstBytes),
		MaxConnsPerIP:    int(cmd.MaxConnsPerIP),
		TrustedProxies:   cmd.TrustedProxies,
		ProxyProtocol:    cmd.ProxyProtocol,
		SlowPass:         time.Duration(cmd.SlowPass),
	}
	if cmd.Retain != nil {
		cfg.RetainBytes = int(*cmd.Retain)
	}
	if cmd.Slow == "skip" {
		cfg.Slow = broadcast.SlowSkip
	}
	if cmd.OverRate == "close" {
		cfg.OverRate = broadcast.RateClose
	}
	if cmd.PingTimeout != nil {
		cfg.PingTimeout = time.Duration(*cmd.PingTimeout)
		if cfg.PingTimeout == 0 {
			cfg.PingTimeout = -1
		}
	}
	return cfg
}
