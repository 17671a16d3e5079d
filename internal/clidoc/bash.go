package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// bash returns a completion function that has the flags of each command, and the values of each flag. Bash treats "="
// as a word of its own (COMP_WORDBREAKS in bash(1)).
func bash(app *kong.Application) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# bash completion for %s", app.Name)
	line("_%s() {", app.Name)
	line("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= flags= values= word before=")
	line("  COMPREPLY=()")
	line("  if [ \"$cur\" = = ]; then cur=; elif [ \"$prev\" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi")
	line("  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do")
	withValue := append(flagsWithValue(app, app.DefaultCmd), "=") // The next word is a value and not a command.
	line("    case $before in %s) ;; *) case $word in %s) cmd=$word; break ;; esac ;; esac",
		strings.Join(withValue, "|"), strings.Join(names(app), "|"))
	line("    before=$word")
	line("  done")
	line("  case ${cmd:-%s} in", first(app))
	for _, cmd := range commands(app) {
		line("  %s)", cmd.Name)
		line("    case $prev in")
		var all []string
		for _, f := range flagsOf(app, cmd) {
			all = append(all, "--"+f.Name)
			if takesValue(f) {
				line("    --%s) %s ;;", f.Name, bashValues(f.Value))
			}
		}
		line("    esac")
		line("    flags=%s", single(strings.Join(all, " "), `'\''`))
		for _, arg := range cmd.Positional {
			if list := choices(arg); list != nil {
				line("    values=%s", single(strings.Join(list, " "), `'\''`))
			} else if isFile(arg) {
				line("    [[ $cur == -* ]] || mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")")
			}
		}
		line("    ;;")
	}
	line("  esac")
	line("  if [[ $cur == -* ]]; then")
	line("    mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\")")
	line("  else")
	line("    [ -n \"$cmd\" ] || values=%s", single(strings.Join(names(app), " "), `'\''`))
	line("    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"$values\" -- \"$cur\")")
	line("  fi")
	line("}")
	line("complete -o filenames -F _%s %s", app.Name, app.Name)
	return b.String()
}

// bashValues returns the command that completes the value of a flag.
func bashValues(v *kong.Value) string {
	switch list := choices(v); {
	case list != nil:
		words := single(strings.Join(list, " "), `'\''`)
		return fmt.Sprintf("mapfile -t COMPREPLY < <(compgen -W %s -- \"$cur\"); return", words)
	case isFile(v):
		return `mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return`
	}
	return "return"
}
