package main

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/clidoc"
)

// completionCmd has the arguments of crier completion.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell: bash, zsh or fish."`
}

// Help is shown by --help.
func (*completionCmd) Help() string {
	return `Prints a script that makes the shell complete commands, flags and their values. ` +
		`For bash: source <(crier completion bash). For zsh, after compinit: source <(crier completion zsh). ` +
		`For fish: crier completion fish | source.`
}

// Run prints the script. kong calls it.
func (cmd *completionCmd) Run(out io.Writer, ctx *kong.Context) error {
	script, err := clidoc.Completion(ctx.Model, cmd.Shell)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, script)
	return err
}

// manCmd has the arguments of crier man, which make dist runs.
type manCmd struct {
	Dir     string `arg:"" help:"Directory for the pages."`
	Release string `placeholder:"VERSION" help:"Version that the pages name."`
	Date    string `placeholder:"YYYY-MM-DD" help:"Date that the pages name."`
}

// Run writes the pages. kong calls it.
func (cmd *manCmd) Run(ctx *kong.Context) error {
	return clidoc.WriteMan(ctx.Model, clidoc.Release{Version: cmd.Release, Date: cmd.Date}, cmd.Dir)
}
