package clidoc

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// Shells lists the shells that Completion supports.
var Shells = []string{"bash", "zsh", "fish"}

// Completion returns the script that completes the command line of a program in one of Shells. The script does not
// run the program.
func Completion(app *kong.Application, shell string) (string, error) {
	switch shell {
	case "bash":
		return bash(app), nil
	case "zsh":
		return zsh(app), nil
	case "fish":
		return fish(app), nil
	}
	return "", fmt.Errorf("clidoc: no completion for %q, want one of %s", shell, strings.Join(Shells, ", "))
}

// commands returns the commands that --help lists.
func commands(app *kong.Application) []*kong.Node {
	var list []*kong.Node
	for _, cmd := range app.Children {
		if !cmd.Hidden {
			list = append(list, cmd)
		}
	}
	return list
}

// flagsOf returns the flags of a command that --help lists, including --help.
func flagsOf(app *kong.Application, cmd *kong.Node) []*kong.Flag {
	var list []*kong.Flag
	for _, f := range append(app.Flags, cmd.Flags...) {
		if !f.Hidden {
			list = append(list, f)
		}
	}
	return list
}

func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// choices returns the allowed values, or nil if any is allowed.
func choices(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

// isFile reports whether a value is the name of a file.
func isFile(v *kong.Value) bool {
	return v.Flag != nil && v.Flag.PlaceHolder == "FILE" || strings.HasSuffix(v.Tag.Type, "file")
}

// remark matches the part of a help text after its main clause.
var remark = regexp.MustCompile(`[;:.] .*| \(default.*`)

// brief returns the main clause of a help text.
func brief(help string) string { return strings.TrimSuffix(remark.ReplaceAllString(help, ""), ".") }

// single returns a text in single quotes. quote replaces each single quote in it, and differs by shell.
func single(s, quote string) string { return "'" + strings.ReplaceAll(s, "'", quote) + "'" }

// names returns the names of the commands.
func names(app *kong.Application) []string {
	var list []string
	for _, cmd := range commands(app) {
		list = append(list, cmd.Name)
	}
	return list
}

// first returns the name of the default command, or "".
func first(app *kong.Application) string {
	if app.DefaultCmd == nil {
		return ""
	}
	return app.DefaultCmd.Name
}
