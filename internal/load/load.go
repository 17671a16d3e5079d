package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/swarm"
)

// Cmd is the flags, as kong reads them.
type Cmd struct {
	URL string `arg:"" default:"ws://127.0.0.1:18000/" help:"Broadcaster to load (default: ${default})."`

	Conns    int           `default:"1000" placeholder:"N" help:"Connections (default: ${default})."`
	Senders  int           `default:"1" placeholder:"N" help:"How many of them send, in turn (default: ${default})."`
	Size     flags.Size    `default:"64" placeholder:"SIZE" help:"Payload of each message, from 8 bytes to 1MiB (default: ${default})."`
	Duration time.Duration `default:"10s" placeholder:"DURATION" help:"How long messages are sent (default: ${default})."`
	Rate     float64       `placeholder:"N" help:"Messages a second, whatever the server does: open loop. Without it the next message is sent when all have the last one: closed loop."`
	Burst    int           `default:"1" placeholder:"N" help:"Messages that are sent at once (default: ${default})."`
	Stalled  int           `placeholder:"N" help:"How many connections do not read (default: 0)."`
	Churn    float64       `placeholder:"N" help:"Connections a second that are ended and made again, with --rate (default: 0)."`
	Grace    time.Duration `default:"10s" placeholder:"DURATION" help:"How long to wait for what is late (default: ${default})."`

	Greeting string `default:"connection established" placeholder:"TEXT" help:"First message of the server; empty if it sends none (default: ${default})."`
	Threads  int    `placeholder:"N" help:"Threads; one more process for each time that the limit of open files is reached (default: one for each core)."`

	JSON        bool   `name:"json" help:"Print the summary as JSON."`
	Plot        string `placeholder:"FILE" help:"Draw latency by percentile into a .svg or .png file."`
	AllowRemote bool   `help:"Load a target that is not this host. Only do this to servers that are yours."`

	// Progress is where the line of progress goes. Defaults to standard error.
	Progress io.Writer `kong:"-"`
}

// Help is shown by --help.
func (*Cmd) Help() string {
	return `Each connection checks that it gets every message whole, once and in order. ` +
		`Latency counts from when a message was due, so that a stall of the server is not hidden by sending less meanwhile. ` +
		`The exit code is 1 if a connection that reads lacks a message, got one twice, out of order or damaged, or was closed. ` +
		`The server must send each message to all as it came, in one frame, and must have no other clients that send. ` +
		`If it sends no first message, say --greeting= and nothing behind it.`
}

// Validate finds what is wrong before anything is loaded. kong calls it.
func (cmd *Cmd) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(cmd.Conns >= 1, "--conns is %d, want at least 1", cmd.Conns)
	check(cmd.Senders >= 1 && cmd.Senders <= swarm.MaxSenders, "--senders is %d, want 1 to %d", cmd.Senders, swarm.MaxSenders)
	check(cmd.Size >= swarm.MinSize && cmd.Size <= swarm.MaxSize, "--size is %d, want %d to %d", cmd.Size, swarm.MinSize, swarm.MaxSize)
	check(cmd.Duration > 0, "--duration is %v, want more than 0", cmd.Duration)
	check(cmd.Rate >= 0 && cmd.Rate <= 1e6, "--rate is %v, want 0 to 1000000", cmd.Rate)
	check(cmd.Rate*cmd.Duration.Seconds() >= 1 || cmd.Rate == 0, "--rate %v for %v is less than one message", cmd.Rate, cmd.Duration)
	check(cmd.Burst >= 1 && cmd.Burst <= 1e6, "--burst is %d, want 1 to 1000000", cmd.Burst)
	check(cmd.Stalled >= 0 && cmd.Stalled+cmd.Senders <= cmd.Conns, "--senders %d and --stalled %d are more than --conns %d", cmd.Senders, cmd.Stalled, cmd.Conns)
	check(cmd.Churn >= 0, "--churn is %v, want at least 0", cmd.Churn)
	check(cmd.Churn == 0 || cmd.Rate > 0, "--churn needs --rate")
	check(cmd.Grace >= 0, "--grace is %v, want at least 0", cmd.Grace)
	check(cmd.Threads >= 0, "--threads is %d, want at least 0", cmd.Threads)
	if cmd.Plot != "" {
		_, err := newCanvas(cmd.Plot)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// config returns the swarm that the flags ask for. A target on another host is refused
// unless it is allowed.
func (cmd *Cmd) config() (swarm.Config, error) {
	cfg := swarm.Config{
		Greeting: cmd.Greeting, Conns: cmd.Conns, Senders: cmd.Senders, Size: int(cmd.Size),
		Threads: cmd.Threads, Timed: true, Patience: max(cmd.Grace, time.Second),
	}
	if cfg.Threads == 0 {
		cfg.Threads = runtime.GOMAXPROCS(0)
	}
	if err := cfg.ParseTarget(cmd.URL); err != nil {
		return cfg, err
	}
	if !cmd.AllowRemote && !cfg.Target.Addr().IsLoopback() {
		return cfg, fmt.Errorf("%s is %s, which is not this host: loading a server that is not yours is an attack; give --allow-remote only if it is yours", cmd.URL, cfg.Target.Addr())
	}
	return cfg, nil
}

// progressTo returns where the line of progress goes.
func (cmd *Cmd) progressTo() io.Writer {
	if cmd.Progress == nil {
		return os.Stderr
	}
	return cmd.Progress
}
