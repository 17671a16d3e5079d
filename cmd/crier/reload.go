package main

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// again parses the command line anew, with the environment and the file of --config, and returns
// the flags of serving, as they are and as text.
type again func() (*serveCmd, map[string]string, error)

// values are the flags of the command that was chosen, as text.
func values(ctx *kong.Context) map[string]string {
	all := make(map[string]string)
	for _, flag := range ctx.Selected().Flags {
		all[flag.Name], _ = text(flag.Target)
	}
	return all
}

// reloadable are the flags that SIGHUP brings into effect.
var reloadable = []string{"auth", "auth-audience", "auth-issuer", "auth-leeway", "log-level"}

// hasFiles reports whether there are files that SIGHUP reads again.
func (cmd *serveCmd) hasFiles() bool { return cmd.Config != "" || cmd.Auth != nil }

// reloader returns what reads the files of --config and --auth again. Without either of them it logs that.
func (cmd *serveCmd) reloader(parse again, logger *slog.Logger) (reload func(), err error) {
	if !cmd.hasFiles() {
		return func() { logger.Warn("nothing is reloaded: there is neither --config nor --auth") }, nil
	}
	_, now, err := parse()
	return func() { now = cmd.reload(parse, now, logger) }, err
}

// reload brings into effect what has changed and can be, says what cannot, and returns what is in
// effect then.
func (cmd *serveCmd) reload(parse again, now map[string]string, logger *slog.Logger) map[string]string {
	next, values, err := parse()
	if err != nil {
		logger.Error("nothing is reloaded", "err", oneLine(err), "hint", hintOf(err))
		return now
	}
	if (next.Auth == nil) != (cmd.Auth == nil) {
		logger.Warn("this takes a restart", "flags", "auth")
		return now
	}
	verifier, err := next.verifier(logger)
	if err != nil {
		logger.Error("nothing is reloaded", "err", oneLine(err), "hint", hintOf(err))
		return now
	}
	cmd.current.Store(verifier)
	cmd.setLevel(next.LogLevel)
	var restart []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != now[name] && !slices.Contains(reloadable, name) {
			restart = append(restart, name)
			values[name] = now[name] // It is not in effect.
		}
	}
	if len(restart) > 0 {
		logger.Warn("this takes a restart", "flags", strings.Join(restart, " "))
	}
	logger.Info("reloaded", "flags", strings.Join(reloadable, " "))
	return values
}
