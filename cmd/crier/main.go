package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/logqueue"
	"github.com/crier-ws/crier/internal/swarm"
)

// cli is the one definition of commands, flags and environment variables.
type cli struct {
	Serve      serveCmd      `cmd:"" default:"withargs" help:"Send each client's messages to all clients (the default)."`
	Pub        pubCmd        `cmd:"" help:"Publish lines to a channel, through a server's --admin."`
	Sub        subCmd        `cmd:"" help:"Follow a channel, and print what is published there."`
	Token      tokenCmd      `cmd:"" help:"Make a token (JWT) for a server with --auth, or a key pair."`
	Load       loadCmd       `cmd:"" help:"Load a WebSocket broadcaster, and check and time what it delivers."`
	Config     configCmd     `cmd:"" help:"Print the settings of serving and where each comes from."`
	Doctor     doctorCmd     `cmd:"" help:"Show how many connections this host allows, and how to allow more."`
	Probe      probeCmd      `cmd:"" help:"Check whether a server on this host is healthy."`
	Version    versionCmd    `cmd:"" help:"Print the version and exit."`
	Help       helpCmd       `cmd:"" help:"Explain a command, or list all commands."`
	Completion completionCmd `cmd:"" help:"Print a script for completion in bash, zsh or fish."`
	Man        manCmd        `cmd:"" hidden:"" help:"Write manual pages."`

	file  *configFile // The file of --config, after it has been read.
	piped *configFile // The file as an earlier parse read it, if the file is a pipe and cannot be read again.
}

const description = `Each flag can also be given in the environment, as CRIER_ and its name in capitals, ` +
	`or in the TOML file of --config; a flag wins over the environment, and the environment over the file. ` +
	`Sizes are bytes or written like 512KiB, 1MiB, 2GiB. Durations are written like 500ms, 30s, 1m30s. ` +
	`"crier serve" is the same as "crier"; "crier help" lists the other commands.`

func main() {
	swarm.Child()
	coarseTimers()
	ignoreBrokenPipes()
	beforeFlags.hold()
	stderr := logqueue.New(os.Stderr)
	code := run(os.Args[1:], output{os.Stdout}, stderr)
	stderr.Close(logPatience)
	os.Exit(code)
}

// run is main with its arguments and streams as parameters. It returns the exit code: 0 for success, 1 if the command
// failed, or 2 if a setting is wrong, so that another attempt would fail as well. A standard output that is no longer
// read is not a failure.
func run(args []string, stdout, stderr io.Writer) int {
	exit := -1
	if err := checkUTF8(args); err != nil {
		printError(stderr, err)
		return 2
	}
	args = joinNegative(respelled(args))
	var c cli
	c.Load.Progress = stderr
	parser := newParser(&c, args, stdout, stderr, func(code int) { exit = code })
	ctx, err := parser.Parse(args)
	switch {
	case exit >= 0:
		return exit
	case errors.Is(err, errReaderGone): // Of --help.
		return 0
	case errors.As(err, new(*outputError)):
		printError(stderr, err)
		return 1
	case err != nil:
		printError(stderr, usageError(&c, err))
		return 2
	}
	if ctx.Selected() == nil || ctx.Selected().Name != "serve" {
		beforeFlags.release()
	}
	if err := ctx.Run(); err != nil && !errors.Is(err, errReaderGone) {
		err = c.Load.explain(ctx, err)
		printError(stderr, err)
		return exitCode(err)
	}
	return 0
}

// checkUTF8 returns an error if an argument is not valid UTF-8, which kong would replace with something else.
func checkUTF8(args []string) error {
	for _, arg := range args {
		if !utf8.ValidString(arg) {
			return hinted(fmt.Errorf("the argument %q is not valid UTF-8", arg),
				"write the argument, or rename the file, in UTF-8")
		}
	}
	return nil
}

// newParser returns the parser that fills c from args. It calls exit for --help.
func newParser(c *cli, args []string, stdout, stderr io.Writer, exit func(code int)) *kong.Kong {
	return kong.Must(c,
		kong.Name("crier"),
		kong.Description("A WebSocket broadcast server: what any client sends goes to all of them."),
		kong.Writers(stdout, stderr),
		kong.DefaultEnvars("CRIER"),
		kong.Bind(c),
		kong.Help(printHelp),
		kong.PostBuild(groupServing),
		kong.Vars{"greeting": broadcast.DefaultGreeting},
		kong.BindTo(stdout, (*io.Writer)(nil)),
		kong.Bind(streams{stderr}),
		kong.Bind(reparse(func() (*serveCmd, map[string]string, error) {
			c := cli{piped: c.file.unlessRegular()}
			ctx, err := newParser(&c, args, io.Discard, io.Discard, func(int) {}).Parse(args)
			if err != nil {
				return nil, nil, usageError(&c, err)
			}
			return &c.Serve, values(ctx), nil
		})),
		kong.Exit(exit),
	)
}
