package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// These match texts of kong's errors. kong exports a single type of error, ParseError, which has no more than a text
// and the context.
var (
	variable  = regexp.MustCompile(`\(from envar (\w+)=".*"\)$`) // Its value may be a secret.
	isValue   = regexp.MustCompile(`(--[a-z-]+): is `)           // Of the types in internal/flags.
	guess     = regexp.MustCompile(`, did you mean (?:one of )?(.*)\?$`)
	noValue   = regexp.MustCompile(`^(--[a-z-]+): expected .* value but got .*`)
	noMore    = regexp.MustCompile(`^unexpected argument (\S+)$`)
	flagNamed = regexp.MustCompile(`--([a-z][a-z-]*)`)
)

// usageError returns an error of kong as crier reports it: what is wrong with the command line, the source of the
// setting if it is not the command line, and a hint.
func usageError(c *cli, err error) error {
	var at *kong.ParseError
	var ctx *kong.Context
	if errors.As(err, &at) {
		ctx = at.Context
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		what := "FILE"
		if file.Op == "open" { // kong opens only the file of --config.
			what = "--config"
		}
		err = fileError(what, file.Path, err)
		if what == "FILE" && errors.Is(err, fs.ErrNotExist) {
			return hinted(err, "give a file with lines to publish; echo %s | crier pub CHANNEL publishes a text",
				filepath.Base(file.Path))
		}
		return err
	}
	text := isValue.ReplaceAllString(oneLine(err), "$1 is ")
	text = variable.ReplaceAllString(text, "(from $1)")
	text = strings.NewReplacer("[<", "<", ">]", ">").Replace(text)
	help := "crier --help"
	if ctx != nil && ctx.Selected() != nil {
		help = "crier " + ctx.Selected().Name + " --help"
	}
	hint := help + " describes its flags and arguments"
	if known := hintOf(err); known != "" {
		hint = known
	} else if foreign := c.foreignUsage(ctx, text); foreign != nil {
		return foreign
	} else if m := guess.FindStringSubmatch(text); m != nil {
		text = strings.TrimSuffix(text, m[0])
		names := strings.NewReplacer(`"`, "", ", ", " or ").Replace(m[1])
		hint = fmt.Sprintf("did you mean %s? %s lists all", names, help)
	} else if m := noValue.FindStringSubmatch(text); m != nil {
		text = m[1] + " needs a value"
		hint = fmt.Sprintf("write %s=VALUE; %s describes the value", m[1], help)
	} else if m := noMore.FindStringSubmatch(text); m != nil && ctx != nil && ctx.Selected() == ctx.Model.DefaultCmd {
		return argumentFault(ctx, m[1])
	} else if m != nil && ctx != nil && ctx.Selected() != nil && ctx.Selected().Name == "token" {
		hint = fmt.Sprintf("write --key %s; %s describes its flags and arguments", m[1], help)
	}
	parts := strings.Split(text, "; ")
	for i, part := range parts {
		parts[i] += c.source(ctx, part, text)
	}
	return hinted(errors.New(strings.Join(parts, "; ")), "%s", hint)
}

// source returns the source of the flag that a part of a text names, as " (from CRIER_LISTEN)". It returns "" if the
// flag was given on the command line, or if the text names the source.
func (c *cli) source(ctx *kong.Context, part, text string) string {
	m := flagNamed.FindStringSubmatch(part)
	inFile := m != nil && m[1] != "config" && strings.Contains(text, "--config ")
	if m == nil || inFile || ctx == nil || ctx.Selected() == nil || strings.Contains(text, "(from CRIER_") {
		return ""
	}
	if c.file != nil && c.file.resolved[m[1]] {
		return fmt.Sprintf(" (from %s)", c.file.name)
	}
	for _, flag := range ctx.Selected().Flags {
		if from, ok := strings.CutPrefix(origin(ctx, flag), "environment, "); ok && flag.Name == m[1] {
			return fmt.Sprintf(" (from %s)", from)
		}
	}
	return ""
}
