package clidoc

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Markdown returns the flags of all commands as a Markdown document: a section for each command, the default command
// first, with a table of its flags for each of their groups.
func Markdown(app *kong.Application) string {
	var b strings.Builder
	for _, cmd := range commands(app) {
		if cmd == app.DefaultCmd {
			markdownCommand(&b, app, cmd)
		}
	}
	for _, cmd := range commands(app) {
		if cmd != app.DefaultCmd {
			markdownCommand(&b, app, cmd)
		}
	}
	return b.String()
}

func markdownCommand(b *strings.Builder, app *kong.Application, cmd *kong.Node) {
	fmt.Fprintf(b, "\n## %s %s\n\n%s\n", app.Name, cmd.Name, markdownText(cmd.Help))
	if len(cmd.Positional) > 0 {
		b.WriteString("\n| argument | |\n|---|---|\n")
	}
	for _, arg := range cmd.Positional {
		markdownRow(b, arg.Summary(), arg.Help)
	}
	flags := byGroup(flagsOf(app, cmd))
	if base := app.DefaultCmd; base != nil && base != cmd && len(without(base.Flags, cmd.Flags)) == 0 {
		flags = without(flags, base.Flags)
		fmt.Fprintf(b, "\nIt takes the flags of %s %s as well.\n", app.Name, base.Name)
	}
	group, first := "", true
	for _, f := range flags {
		if f.Name == "help" {
			continue
		}
		if f.Group != nil && f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(b, "\n### %s\n", strings.TrimSuffix(group, ":"))
			first = true
		}
		if first {
			b.WriteString("\n| flag | |\n|---|---|\n")
			first = false
		}
		name := "--" + f.Name
		if takesValue(f) {
			name += " " + f.FormatPlaceHolder()
		}
		markdownRow(b, name, f.Help)
	}
}

// without returns the flags that do not have the name of one of others.
func without(flags, others []*kong.Flag) []*kong.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool {
		return slices.ContainsFunc(others, func(o *kong.Flag) bool { return o.Name == f.Name })
	})
}

// markdownRow writes a row of a table: code and its meaning.
func markdownRow(b *strings.Builder, code, meaning string) {
	fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(code, "|", `\|`), markdownText(meaning))
}

// verbatim matches the parts of a help text that are set as code: flags and URLs.
var verbatim = regexp.MustCompile(`(?:--[a-z][a-z-]*[a-z]|\b[a-z]+://[^\s,;)]*[^\s,;).:])`)

// markdownText returns a help text with its flags and URLs as code, and nothing else that Markdown would interpret.
func markdownText(s string) string {
	var b strings.Builder
	plain := strings.NewReplacer(`\`, `\\`, "`", "\\`", "|", `\|`, "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`)
	for {
		at := verbatim.FindStringIndex(s)
		if at == nil {
			b.WriteString(plain.Replace(s))
			return b.String()
		}
		b.WriteString(plain.Replace(s[:at[0]]))
		b.WriteString("`" + strings.ReplaceAll(s[at[0]:at[1]], "|", `\|`) + "`")
		s = s[at[1]:]
	}
}
