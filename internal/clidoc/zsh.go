package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// zsh returns a completion function that calls _arguments for each command: zshcompsys(1).
func zsh(app *kong.Application) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#compdef %s", app.Name)
	line("_%s() {", app.Name)
	line("  local -a commands=(")
	for _, cmd := range commands(app) {
		line("    %s", zshQuote(cmd.Name+":"+brief(cmd.Help)))
	}
	line("  )")
	line("  local cmd=%s", first(app))
	line("  integer at=0 i")
	line("  for (( i = 2; i < CURRENT; i++ )); do")
	line("    case $words[i] in %s) cmd=$words[i]; at=i; break ;; esac", strings.Join(names(app), "|"))
	line("  done")
	line("  if (( ! at )) && [[ $PREFIX != -* && $words[CURRENT-1] != (%s) ]]; then _describe command commands; fi",
		strings.Join(flagsWithValue(app, app.DefaultCmd), "|"))
	line("  if (( at )); then words[1,at]=(%s-$cmd); (( CURRENT -= at - 1 )); fi", app.Name)
	line("  case $cmd in")
	for _, cmd := range commands(app) {
		line("  %s) _arguments \\", cmd.Name)
		for _, f := range flagsOf(app, cmd) {
			line("    %s \\", zshQuote(zshFlag(f)))
		}
		for i, arg := range cmd.Positional {
			line("    %s \\", zshQuote(fmt.Sprintf("%d::%s:%s", i+1, arg.Name, zshAction(arg, "()"))))
		}
		line("    ;;")
	}
	line("  esac")
	line("}")
	line("if [[ $funcstack[1] == _%s ]]; then _%s \"$@\"; else compdef _%s %s; fi", app.Name, app.Name, app.Name, app.Name)
	return b.String()
}

// flagsWithValue returns the flags of a command that take a value. cmd may be nil.
func flagsWithValue(app *kong.Application, cmd *kong.Node) []string {
	var list []string
	if cmd != nil {
		for _, f := range flagsOf(app, cmd) {
			if takesValue(f) {
				list = append(list, "--"+f.Name)
			}
		}
	}
	return list
}

func zshQuote(s string) string { return single(s, `'\''`) }

// zshFlag returns a flag in the syntax of _arguments.
func zshFlag(f *kong.Flag) string {
	about := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(brief(f.Help))
	many := ""
	if f.IsCumulative() {
		many = "*"
	}
	if !takesValue(f) {
		return fmt.Sprintf("%s--%s[%s]", many, f.Name, about)
	}
	value := strings.ReplaceAll(f.FormatPlaceHolder(), ":", `\:`)
	return fmt.Sprintf("%s--%s=[%s]:%s:%s", many, f.Name, about, value, zshAction(f.Value, " "))
}

// zshAction returns the action of _arguments that completes a value, or other if any value is allowed.
func zshAction(v *kong.Value, other string) string {
	switch list := choices(v); {
	case list != nil:
		return "(" + strings.Join(list, " ") + ")"
	case isFile(v):
		return "_files"
	}
	return other
}
