package main

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/clidoc"
)

// completionCmd is the arguments of completion.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell: bash, zsh or fish."`
}

// Help is shown by --help.
func (*completionCmd) Help() string {
	return `Prints a script of which the shell learns to complete commands, flags and their values. ` +
		`For bash: source <(crier completion bash). For zsh, behind compinit: source <(crier completion zsh). For fish: crier completion fish | source.`
}

// Run prints the script.
func (cmd *completionCmd) Run(out io.Writer, ctx *kong.Context) error {
	script, err := clidoc.Completion(ctx.Model, cmd.Shell)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, script)
	return err
}

// manCmd is the arguments of writing manual pages, which make dist does.
type manCmd struct {
	Dir     string `arg:"" help:"Directory for the pages."`
	Release string `placeholder:"VERSION" help:"Version that the pages name."`
	Date    string `placeholder:"YYYY-MM-DD" help:"Date that the pages name."`
}

// Run writes the pages.
func (cmd *manCmd) Run(ctx *kong.Context) error {
	return clidoc.WriteMan(ctx.Model, clidoc.Release{Version: cmd.Release, Date: cmd.Date}, cmd.Dir)
}
