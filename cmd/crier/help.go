package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// flagGroups has the flags of serving by their subjects, in the order of --help.
var flagGroups = []struct {
	title string
	flags string
}{
	{"Address and channels", "config listen path channels greeting page"},
	{"Access", "origin auth auth-audience auth-issuer auth-leeway trusted-proxies proxy-protocol publish"},
	{"Limits", "max-conns max-conns-per-ip memory max-message rate burst rate-bytes burst-bytes over-rate"},
	{"Delivery", "retain retain-total retain-age slow compress compress-min"},
	{"Keep-alive and shutdown", "ping-interval ping-timeout handshake-timeout drain"},
	{"Administration and logs", "admin admin-token-file otlp-endpoint log-format log-level slow-pass pprof"},
	{"Cluster", "cluster cluster-mode cluster-stream cluster-replicas cluster-max-bytes cluster-max-age " +
		"cluster-credentials cluster-nkey cluster-ca cluster-cert cluster-key cluster-timeout cluster-linger cluster-hold"},
}

// groupOf returns the group of a flag of serving, or nil.
func groupOf(flag string) *kong.Group {
	for _, g := range flagGroups {
		if slices.Contains(strings.Fields(g.flags), flag) {
			return &kong.Group{Key: g.title, Title: g.title + ":"}
		}
	}
	return nil
}

// groupServing puts the flags of the commands that serve into groups.
func groupServing(k *kong.Kong) error {
	for _, cmd := range k.Model.Children {
		if cmd.Name != "serve" && cmd.Name != "config" {
			continue
		}
		for _, flag := range cmd.Flags {
			flag.Group = groupOf(flag.Name)
		}
	}
	return nil
}

// helpWidth is the length of lines of help: the usual width of a terminal.
const helpWidth = 80

// printHelp prints the text of --help. It is an overview if no command is selected.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if ctx.Selected() == nil {
		_, err := io.WriteString(ctx.Stdout, overview(ctx.Model))
		return err
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// overview returns a list of the commands and of the flags of serving, and how to read more.
func overview(app *kong.Application) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [COMMAND] [FLAGS]\n\n%s\n\nCommands:\n", app.Name, app.Help)
	for _, cmd := range app.Children {
		if !cmd.Hidden {
			fmt.Fprintf(&b, "  %-12s%s\n", cmd.Name, cmd.Help)
		}
	}
	b.WriteString("\nFlags of serving:\n")
	for _, g := range flagGroups {
		line := "  " + g.title + ":"
		for name := range strings.FieldsSeq(g.flags) {
			if len(line)+len(" --")+len(name) > helpWidth {
				b.WriteString(line + "\n")
				line = "   "
			}
			line += " --" + name
		}
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\n%[1]s serve --help explains these flags, %[1]s COMMAND --help other flags.\n", app.Name)
	b.WriteString("Each flag can also be given in the environment, as CRIER_LISTEN for --listen.\n")
	return b.String()
}

// helpCmd has the arguments of crier help.
type helpCmd struct {
	Command string `arg:"" optional:"" help:"Command to explain; an overview of all if it is left out."`
}

// AfterApply returns an error if the command does not exist. kong calls it.
func (cmd *helpCmd) AfterApply(ctx *kong.Context) error {
	if cmd.Command == "" || slices.Contains(commandNames(ctx.Model), cmd.Command) {
		return nil
	}
	hint := "crier help lists the commands"
	if name := commandFor(ctx.Model, cmd.Command); name != "" {
		hint = fmt.Sprintf("did you mean crier help %s?", name)
	}
	return hinted(fmt.Errorf("there is no command %s", cmd.Command), "%s", hint)
}

// Run prints the same text as --help. kong calls it.
func (cmd *helpCmd) Run(ctx *kong.Context, out io.Writer) error {
	if cmd.Command == "" {
		_, err := io.WriteString(out, overview(ctx.Model))
		return err
	}
	about, err := kong.Trace(ctx.Kong, []string{cmd.Command})
	if err != nil {
		return err
	}
	return about.PrintUsage(false)
}

// commandNames returns the names of the commands that --help lists.
func commandNames(app *kong.Application) []string {
	var names []string
	for _, cmd := range app.Children {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	return names
}
