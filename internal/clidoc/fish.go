package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// fish returns a line for each command, flag and argument: complete(1) of fish.
func fish(app *kong.Application) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	all := strings.Join(names(app), " ")
	line("# fish completion for %s", app.Name)
	line("complete -c %s -f", app.Name)
	for _, cmd := range commands(app) {
		line("complete -c %s -n 'not __fish_seen_subcommand_from %s' -a %s -d %s",
			app.Name, all, cmd.Name, fishQuote(brief(cmd.Help)))
		when := fishWhen(app, cmd)
		for _, f := range flagsOf(app, cmd) {
			line("complete -c %s -n %s -l %s%s -d %s",
				app.Name, when, f.Name, fishValues(f), fishQuote(brief(f.Help)))
		}
		for _, arg := range cmd.Positional {
			if list := choices(arg); list != nil {
				line("complete -c %s -n %s -a %s", app.Name, when, fishQuote(strings.Join(list, " ")))
			} else if isFile(arg) {
				line("complete -c %s -n %s -F", app.Name, when)
			}
		}
	}
	return b.String()
}

// fishWhen returns the condition that a command is being completed.
func fishWhen(app *kong.Application, cmd *kong.Node) string {
	if cmd != app.DefaultCmd {
		return "'__fish_seen_subcommand_from " + cmd.Name + "'"
	}
	var others []string
	for _, name := range names(app) {
		if name != cmd.Name {
			others = append(others, name)
		}
	}
	return "'not __fish_seen_subcommand_from " + strings.Join(others, " ") + "'"
}

func fishQuote(s string) string { return single(strings.ReplaceAll(s, `\`, `\\`), `\'`) }

// fishValues returns the options of complete for the value of a flag.
func fishValues(f *kong.Flag) string {
	switch list := choices(f.Value); {
	case !takesValue(f):
		return ""
	case list != nil:
		return " -x -a " + fishQuote(strings.Join(list, " "))
	case isFile(f.Value):
		return " -r -F"
	}
	return " -x"
}
