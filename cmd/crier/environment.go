package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Validate returns an error for settings that would silently be ignored: variables whose names are nearly those of
// flags, and empty values of flags of serving. A server with CRIER_AUHT=key.pem, or with CRIER_ORIGIN= from a script
// whose variable is not set, would be open to all. kong calls it.
func (c *cli) Validate(ctx *kong.Context) error {
	if cmd := ctx.Selected(); cmd == nil || cmd.Name != "serve" && cmd.Name != "config" {
		return nil
	}
	var errs []error
	var near []string
	for _, v := range unknownVariables(ctx.Model) {
		flag := nearVariable(v, ctx.Selected().Flags)
		if flag != "" && (strings.HasPrefix(v, "CRIER_") || isSlip(v, flag)) {
			errs = append(errs, fmt.Errorf("%s in the environment: there is no such variable", v))
			near = append(near, flag)
		}
	}
	if len(errs) > 0 {
		return hinted(errors.Join(errs...), "did you mean %s? crier --help lists the flags; each has a variable",
			strings.Join(slices.Compact(near), ", "))
	}
	for _, flag := range ctx.Selected().Flags {
		if flag.Tag.Has("empty") || !isEmpty(flag.Target) || origin(ctx, flag) == "default" {
			continue
		}
		errs = append(errs, fmt.Errorf("--%s is empty, want %s, or leave it out", flag.Name, flag.PlaceHolder))
	}
	return errors.Join(errs...)
}

// isEmpty reports whether a flag's value is a string of only spaces.
func isEmpty(v reflect.Value) bool {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v.Kind() == reflect.String && strings.TrimSpace(v.String()) == ""
}

// isSlip reports whether a variable whose name does not begin with CRIER_ is probably meant for a flag's variable: the
// names differ only in case or underscores, or by one typing error.
func isSlip(name, flag string) bool {
	bare := strings.NewReplacer("_", "", "-", "")
	return bare.Replace(strings.ToUpper(name)) == bare.Replace(flag) || typos(strings.ToUpper(name), flag) == 1
}

// warnOfVariables logs which variables with the prefix CRIER_ do not set any flag.
func warnOfVariables(app *kong.Application, logger *slog.Logger) {
	names := slices.DeleteFunc(unknownVariables(app), func(name string) bool { return !strings.HasPrefix(name, "CRIER_") })
	if len(names) > 0 {
		logger.Warn("these variables do not set any flag and are ignored", "variables", strings.Join(names, " "),
			"hint", "crier serve --help lists the flags; CRIER_MAX_MESSAGE sets --max-message")
	}
}

// unknownVariables returns the names of variables in the environment that begin with CRIER, in any case and with at
// most one typing error, and that do not set a flag of any command. Variables that Kubernetes sets for a service are
// left out.
func unknownVariables(app *kong.Application) []string {
	known := make(map[string]bool)
	for _, cmd := range app.Leaves(false) {
		for _, flag := range cmd.Flags {
			for _, name := range flag.Envs {
				known[name] = true
			}
		}
	}
	var unknown []string
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if beginsLikeOurs(name) && !known[name] && !isOfService(name, value) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// beginsLikeOurs reports whether a variable's name begins with CRIER, in any case and with at most one typing error.
func beginsLikeOurs(name string) bool {
	name = strings.ToUpper(name)
	for n := 4; n <= min(6, len(name)); n++ {
		if typos(name[:n], "CRIER") <= 1 {
			return true
		}
	}
	return false
}

var (
	servicePort = regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	serviceLink = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// isOfService reports whether Kubernetes sets a variable in each container for a service whose name begins with crier.
// Examples are CRIER_SERVICE_HOST, CRIER_PORT_18000_TCP_ADDR, and CRIER_ADMIN_PORT=tcp://10.96.0.7:18001.
func isOfService(name, value string) bool {
	return servicePort.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceLink.MatchString(value)
}

// typos returns how many typing errors turn a into b. An error is a letter too many, a letter missing, a wrong letter,
// or, if it is the only error, two neighbouring letters that are swapped.
func typos(a, b string) int {
	n := distance(a, b)
	for i := 1; i < len(a) && len(a) == len(b) && n == 2; i++ {
		if a[:i-1] == b[:i-1] && a[i-1] == b[i] && a[i] == b[i-1] && a[i+1:] == b[i+1:] {
			return 1
		}
	}
	return n
}

// nearVariable returns the variable of the flag that a name is probably meant for, or "". The name differs from the
// variable by a few typing errors, or contains it: CRIER_ORIGINS, CRIER_AUTH_FILE, CRIER_SERVE_AUTH.
func nearVariable(name string, flags []*kong.Flag) string {
	var all []string
	for _, flag := range flags {
		all = append(all, flag.Envs...)
	}
	name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	near := slices.MinFunc(all, func(a, b string) int {
		return cmp.Or(typos(name, a)-typos(name, b), cmp.Compare(a, b))
	})
	// Many words are two errors away from a short name: CRIER_NAME is not meant for CRIER_RATE.
	if n := len(near) - len("CRIER_"); typos(name, near) <= 1 || n > 5 && typos(name, near) <= max(2, n/5) {
		return near
	}
	longest := ""
	for _, flag := range all {
		named := strings.HasPrefix(name, flag+"_") || name == "CRIER_SERVE_"+strings.TrimPrefix(flag, "CRIER_")
		if named && len(flag) > len(longest) {
			longest = flag
		}
	}
	return longest
}
