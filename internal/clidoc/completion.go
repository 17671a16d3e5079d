package clidoc

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// Shells are those that Completion knows.
var Shells = []string{"bash", "zsh", "fish"}

// Completion returns the script that completes the program's command line in a shell of
// Shells. The script does not run the program.
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

// commands are those that --help lists.
func commands(app *kong.Application) []*kong.Node {
	var list []*kong.Node
	for _, cmd := range app.Children {
		if !cmd.Hidden {
			list = append(list, cmd)
		}
	}
	return list
}

// flagsOf are those of a command that --help lists, --help itself among them.
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

// choices are the values that there are, or nil for any.
func choices(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

// isFile says whether a value is a file's name.
func isFile(v *kong.Value) bool {
	return v.Flag != nil && v.Flag.PlaceHolder == "FILE" || strings.HasSuffix(v.Tag.Type, "file")
}

var aside = regexp.MustCompile(`[;:.] .*| \(default.*`)

// brief is the beginning of a help text.
func brief(help string) string { return strings.TrimSuffix(aside.ReplaceAllString(help, ""), ".") }

// single puts a text in single quotes: what stands for one in them differs by shell.
func single(s, quote string) string { return "'" + strings.ReplaceAll(s, "'", quote) + "'" }

// names are those of the commands.
func names(app *kong.Application) []string {
	var list []string
	for _, cmd := range commands(app) {
		list = append(list, cmd.Name)
	}
	return list
}

// first is the command that is meant where none is named.
func first(app *kong.Application) string {
	if app.DefaultCmd == nil {
		return ""
	}
	return app.DefaultCmd.Name
}
