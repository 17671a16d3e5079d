package main

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// reparse parses the command line again, with the environment and the file of --config. It returns the flags of
// serving, and their values as text by their names.
type reparse func() (*serveCmd, map[string]string, error)

// values returns the flags of the selected command as text, by their names.
func values(ctx *kong.Context) map[string]string {
	all := make(map[string]string)
	for _, flag := range ctx.Selected().Flags {
		all[flag.Name], _ = text(flag.Target)
	}
	return all
}

// reloadable lists the flags whose new values take effect at SIGHUP.
var reloadable = []string{"auth", "auth-audience", "auth-issuer", "auth-leeway", "log-level"}

// hasFiles reports whether the flags name files that SIGHUP reads again.
func (cmd *serveCmd) hasFiles() bool { return cmd.Config != "" || cmd.Auth != nil }

// reloader returns the function that reads the files of --config and --auth again. Without these flags, the function
// logs that nothing is reloaded.
func (cmd *serveCmd) reloader(parse reparse, logger *slog.Logger) (reload func(), err error) {
	if !cmd.hasFiles() {
		return func() { logger.Warn("nothing is reloaded: there is neither --config nor --auth") }, nil
	}
	_, current, err := parse()
	return func() { current = cmd.reload(parse, current, logger) }, err
}

// reload applies the reloadable flags that have changed, logs other changes, and returns the values that are in effect
// afterwards. before has the values in effect until now.
func (cmd *serveCmd) reload(parse reparse, before map[string]string, logger *slog.Logger) map[string]string {
	next, values, err := parse()
	if err != nil {
		logger.Error("nothing is reloaded", "err", oneLine(err), "hint", hintOf(err))
		return before
	}
	if (next.Auth == nil) != (cmd.Auth == nil) {
		logger.Warn("this takes a restart", "flags", "auth")
		return before
	}
	verifier, err := next.verifier(logger)
	if err != nil {
		logger.Error("nothing is reloaded", "err", oneLine(err), "hint", hintOf(err))
		return before
	}
	cmd.current.Store(verifier)
	cmd.setLevel(next.LogLevel)
	var restart []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != before[name] && !slices.Contains(reloadable, name) {
			restart = append(restart, name)
			values[name] = before[name]
		}
	}
	if len(restart) > 0 {
		logger.Warn("this takes a restart", "flags", strings.Join(restart, " "))
	}
	logger.Info("reloaded", "flags", strings.Join(reloadable, " "))
	return values
}
