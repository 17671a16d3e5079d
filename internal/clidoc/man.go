package clidoc

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Release is the version and date in the last line of manual pages. Both may be empty.
type Release struct {
	Version string
	Date    string // YYYY-MM-DD
}

// WriteMan writes a manual page for the program and one for each command to dir, which it creates if it does not exist.
func WriteMan(app *kong.Application, rel Release, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := map[string]string{app.Name: appPage(app, rel)}
	for _, cmd := range commands(app) {
		pages[app.Name+"-"+cmd.Name] = commandPage(app, cmd, rel)
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// roff builds a page.
type roff struct{ strings.Builder }

func (r *roff) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

// text writes a paragraph, with a line for each sentence. escape keeps the lines from being requests.
func (r *roff) text(s string) {
	for sentence := range strings.Lines(strings.ReplaceAll(s, ". ", ".\n")) {
		r.line("%s", escape(strings.TrimSpace(sentence)))
	}
}

// detail writes the text that --help has between the description of a command and its flags.
func (r *roff) detail(cmd *kong.Node) {
	if cmd.Detail != "" {
		r.line(".PP")
		r.text(cmd.Detail)
	}
}

// escape returns a text whose characters have no special meaning: groff_char(7).
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `~`, `\(ti`, `^`, `\(ha`, "`", `\(ga`, `'`, `\(aq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// quote returns a text as an argument of a macro.
func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }

// head writes the head of a page.
func (r *roff) head(name, about string, app *kong.Application, rel Release) {
	version := strings.TrimSpace(app.Name + " " + rel.Version)
	r.line(".TH %s 1 \"%s\" %s %s", quote(strings.ToUpper(name)), rel.Date, quote(version), quote("User Commands"))
	r.line(".SH NAME")
	about, _, _ = strings.Cut(about, ". ")
	r.line(`%s \- %s`, escape(name), escape(strings.TrimSuffix(about, ".")))
}

func appPage(app *kong.Application, rel Release) string {
	var r roff
	r.head(app.Name, app.Help, app, rel)
	r.line(".SH SYNOPSIS\n.B %s\n.RI [ command ]\n.RI [ flags ]", escape(app.Name))
	r.line(".SH DESCRIPTION")
	r.text(app.Help)
	if app.DefaultCmd != nil {
		r.detail(app.DefaultCmd)
	}
	r.line(".SH COMMANDS")
	for _, cmd := range commands(app) {
		r.line(".TP\n.BR %s (1)", escape(app.Name+"-"+cmd.Name))
		r.text(cmd.Help)
	}
	r.seeAlso(app, "")
	return r.String()
}

func commandPage(app *kong.Application, cmd *kong.Node, rel Release) string {
	var r roff
	r.head(app.Name+"-"+cmd.Name, cmd.Help, app, rel)
	r.line(".SH SYNOPSIS\n.B %s\n.RI [ flags ]", escape(app.Name+" "+cmd.Name))
	for _, arg := range cmd.Positional {
		r.line(".I %s", quote(arg.Summary()))
	}
	r.line(".SH DESCRIPTION")
	r.text(cmd.Help)
	r.detail(cmd)
	if len(cmd.Positional) > 0 {
		r.line(".SH ARGUMENTS")
	}
	for _, arg := range cmd.Positional {
		r.line(".TP\n.I %s", quote(arg.Summary()))
		r.text(arg.Help)
	}
	r.line(".SH OPTIONS")
	group := ""
	for _, f := range byGroup(flagsOf(app, cmd)) {
		if f.Group != nil && f.Group.Title != group {
			group = f.Group.Title
			r.line(".SS %s", quote(strings.TrimSuffix(group, ":")))
		}
		r.option(f)
	}
	r.seeAlso(app, cmd.Name)
	return r.String()
}

// byGroup returns flags sorted by group: first the flags without a group, then the groups in the order of their first
// flags.
func byGroup(list []*kong.Flag) []*kong.Flag {
	rank := map[string]int{"": 0}
	key := func(f *kong.Flag) string {
		if f.Group == nil {
			return ""
		}
		return f.Group.Key
	}
	for _, f := range list {
		if _, known := rank[key(f)]; !known {
			rank[key(f)] = len(rank)
		}
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b *kong.Flag) int {
		return rank[key(a)] - rank[key(b)]
	})
}

// option writes a flag with its value, its help and its variable in the environment.
func (r *roff) option(f *kong.Flag) {
	names := "--" + f.Name
	if f.Short != 0 {
		names = fmt.Sprintf("-%c, %s", f.Short, names)
	}
	if takesValue(f) {
		r.line(".TP\n.BI %s %s", quote(names+"="), quote(f.FormatPlaceHolder()))
	} else {
		r.line(".TP\n.B %s", quote(names))
	}
	r.text(f.Help)
	if len(f.Envs) > 0 {
		r.line("In the environment:\n.BR %s .", strings.Join(f.Envs, " , "))
	}
}

// seeAlso writes references to all pages except that of the command but.
func (r *roff) seeAlso(app *kong.Application, but string) {
	r.line(".SH SEE ALSO")
	var pages []string
	if but != "" {
		pages = append(pages, app.Name)
	}
	for _, cmd := range commands(app) {
		if cmd.Name != but {
			pages = append(pages, app.Name+"-"+cmd.Name)
		}
	}
	for i, page := range pages {
		comma := ","
		if i == len(pages)-1 {
			comma = ""
		}
		r.line(".BR %s (1)%s", escape(page), comma)
	}
}
