package main

import (
	"fmt"
	"reflect"
	"time"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/flags"
)

// derivedDefault is the value in effect of a flag that is not given, or is 0, if its default depends on other settings.
type derivedDefault struct {
	value any    // Of a type in internal/flags, or nil if the flag has no effect.
	from  string // Names what the value depends on other than flags, or "". On another host the value may differ.
}

// derivedDefaults returns the derived defaults by the names of their flags.
func (cmd *serveCmd) derivedDefaults() (map[string]derivedDefault, error) {
	cfg, err := cmd.planned()
	if err != nil {
		return nil, err
	}
	limit, err := raiseFDLimit()
	if err != nil {
		return nil, err
	}
	conns, from := cmd.allowedConns(limit), "the limit of open files"
	if cfg.MaxConns > 0 && cfg.MaxConns < conns {
		conns, from = cfg.MaxConns, "--memory"
	}
	derived := map[string]derivedDefault{
		"retain":       {value: flags.Size(cfg.RetainBytes)},
		"retain-total": {}, "ping-timeout": {}, "burst": {}, "burst-bytes": {},
		"max-conns":    {flags.Count(conns), from},
		"cluster-hold": {}, "cluster-linger": {}, "cluster-replicas": {}, "cluster-max-bytes": {}, "cluster-max-age": {},
	}
	if cmd.Channels {
		derived["retain-total"] = derivedDefault{value: flags.Size(cfg.RetainTotalBytes)}
	}
	if cmd.PingInterval > 0 {
		derived["ping-timeout"] = derivedDefault{value: flags.Span(cfg.PingTimeout)}
	}
	if cmd.Rate > 0 {
		derived["burst"] = derivedDefault{value: flags.Count(cfg.Burst)}
	}
	if cmd.RateBytes > 0 {
		derived["burst-bytes"] = derivedDefault{value: flags.Size(cfg.BurstBytes)}
	}
	if len(cmd.Cluster) > 0 && cmd.Channels {
		derived["cluster-linger"] = derivedDefault{value: flags.Span(time.Minute)}
	}
	if len(cmd.Cluster) > 0 && cmd.ClusterMode == "ordered" {
		const existing = "unless the stream exists"
		derived["cluster-hold"] = derivedDefault{value: flags.Span(cfg.Replication.HoldTime)}
		derived["cluster-replicas"] = derivedDefault{flags.Count(1), existing}
		derived["cluster-max-bytes"] = derivedDefault{flags.Size(0), existing}
		derived["cluster-max-age"] = derivedDefault{flags.Span(0), existing}
	}
	return derived, nil
}

// isUnset reports whether a flag is not given, or is given as 0 where 0 is the default.
func isUnset(v reflect.Value) bool { return v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 }

// settingLine returns a flag as a line of a file for --config. A value that depends on this host is a comment, so that
// the file means the same elsewhere, and a flag without a value is a comment without an equals sign.
func settingLine(flag *kong.Flag, from string, derived map[string]derivedDefault) string {
	value, _ := text(flag.Target)
	d, ok := derived[flag.Name]
	comment := ""
	switch unset := isUnset(flag.Target); {
	case unset && ok && d.value == nil:
		return fmt.Sprintf("# %s: without effect", flag.Name)
	case unset && ok:
		value, _ = text(reflect.ValueOf(d.value))
		if d.from != "" {
			comment, from = "#", from+", "+d.from
		}
	case needsValue(flag):
		return fmt.Sprintf("# %s: not set", flag.Name)
	case flag.Name == "max-conns" && int64(d.value.(flags.Count)) < flag.Target.Int():
		from += fmt.Sprintf("; %s allows %d", d.from, d.value)
	}
	return fmt.Sprintf("%-41s # %s", comment+flag.Name+" = "+value, from)
}

// templateLine returns a flag as a line that starts the same server when it is uncommented.
func templateLine(flag *kong.Flag, derived map[string]derivedDefault) string {
	value, _ := text(flag.Target)
	d, ok := derived[flag.Name]
	switch unset := isUnset(flag.Target); {
	case unset && ok && d.value != nil && d.from == "":
		value, _ = text(reflect.ValueOf(d.value))
	case needsValue(flag):
		return fmt.Sprintf("# %s: not set; takes %s", flag.Name, flag.PlaceHolder)
	}
	return fmt.Sprintf("#%s = %s", flag.Name, value)
}

// needsValue reports whether a flag has no value and cannot be given an empty one.
func needsValue(flag *kong.Flag) bool {
	switch kind := flag.Target.Kind(); {
	case !isUnset(flag.Target) || flag.Tag.Has("empty"):
		return false
	default:
		return kind == reflect.Slice || kind == reflect.Pointer || kind == reflect.String
	}
}
