package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"
)

// configFile is the flags in a TOML file, which count less than the environment and the command
// line. It is a kong.Resolver.
type configFile struct {
	name     string
	values   map[string]any
	resolved map[string]bool // The flags that it has given.
}

// loadConfig reads a file for the flags of serving. It is a kong.ConfigurationLoader.
func (c *cli) loadConfig(r io.Reader) (kong.Resolver, error) {
	f := &configFile{name: "--config", resolved: make(map[string]bool)}
	if file, ok := r.(*os.File); ok {
		f.name += " " + file.Name()
	}
	c.file = f
	if err := toml.NewDecoder(r).Decode(&f.values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, hinted(fmt.Errorf("%s: line %d, column %d: %w", f.name, line, column, err), "lines are as max-message = \"2MiB\"; crier config --template prints them all")
		}
		return nil, fileError("--config", strings.TrimPrefix(f.name, "--config "), err)
	}
	return f, nil
}

// Validate says which keys there cannot be.
func (f *configFile) Validate(app *kong.Application) error {
	var known []string
	for _, cmd := range app.Leaves(true) {
		if cmd.Name == "serve" {
			for _, flag := range cmd.Flags {
				known = append(known, flag.Name)
			}
		}
	}
	var errs []error
	var near []string
	for key, value := range f.values {
		switch value.(type) {
		case map[string]any:
			errs = append(errs, fmt.Errorf("%s: [%s]: there are no tables, want lines as listen = \":18000\"", f.name, key))
		default:
			if !slices.Contains(known, key) || key == "config" {
				errs = append(errs, fmt.Errorf("%s: there is no %s", f.name, key))
				near = append(near, nearest(key, known))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	hint := "crier config --template prints all there are"
	if len(near) > 0 {
		slices.Sort(near)
		hint = fmt.Sprintf("did you mean %s? %s", strings.Join(slices.Compact(near), ", "), hint)
	}
	return hinted(errors.Join(errs...), "%s", hint)
}

// Resolve returns what a flag is in the file, as it would be written on the command line.
func (f *configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f.values[flag.Name]
	if !ok || fromEnvironment(flag) != "" {
		return nil, nil
	}
	f.resolved[flag.Name] = true
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value), nil
	}
	if len(list) == 0 {
		return nil, nil // That is as if it were not given.
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, ","), nil
}

// fromEnvironment is the variable that gives a flag, or empty.
func fromEnvironment(flag *kong.Flag) string {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name
		}
	}
	return ""
}

// nearest is the word that takes the fewest changes of one letter to be made into word.
func nearest(word string, words []string) string {
	return slices.MinFunc(words, func(a, b string) int { return distance(word, a) - distance(word, b) })
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// configCmd prints what serving would be done with.
type configCmd struct {
	serveCmd `embed:""`

	Template bool `help:"Print a file for --config with all defaults, commented out, in the place of what is in effect."`
}

// Help is shown by --help.
func (*configCmd) Help() string {
	return `Takes the flags of serve, and prints each with where it comes from: the command line, the environment, ` +
		`the file of --config, or its default. What it prints is a file for --config. Examples: crier config --template > crier.toml; crier config --config crier.toml.`
}

// Run prints.
func (cmd *configCmd) Run(ctx *kong.Context, out io.Writer, s streams) error {
	warnOfVariables(ctx.Model, cmd.logger(s))
	derived, err := cmd.derivedDefaults()
	if err != nil {
		return err
	}
	for _, flag := range ctx.Selected().Flags {
		if flag.Name == "config" || flag.Name == "template" {
			continue
		}
		line := settingLine(flag, origin(ctx, flag), derived)
		if cmd.Template {
			line = fmt.Sprintf("# %s\n%s\n", plain(flag.Help), templateLine(flag, derived))
		}
		_, err = fmt.Fprintln(out, line)
		if err != nil {
			return err
		}
	}
	return nil
}

// plain is a help text without what it says of defaults: they stand behind it.
func plain(help string) string {
	before, _, _ := strings.Cut(help, " (default:")
	return strings.TrimSuffix(before, ".") + "."
}

// origin is where a flag's value comes from.
func origin(ctx *kong.Context, flag *kong.Flag) string {
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == flag.Name {
			if p.Resolved {
				return "file"
			}
			return "command line"
		}
	}
	if name := fromEnvironment(flag); name != "" {
		return "environment, " + name
	}
	return "default"
}

// text is a flag's value in TOML. It is not given if it is of a kind that may be absent and is.
func text(v reflect.Value) (value string, given bool) {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return `""`, false
	case v.Kind() == reflect.Pointer:
		return text(v.Elem())
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return "[]", true
	}
	if v.Kind() == reflect.Slice {
		var items []string
		for i := range v.Len() {
			item, _ := text(v.Index(i))
			items = append(items, item)
		}
		return "[" + strings.Join(items, ", ") + "]", true
	}
	switch x := v.Interface().(type) {
	case interface{ Text() string }: // Of internal/flags.
		return fmt.Sprintf("%q", x.Text()), true
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			panic(err) // The types of flags that have it do not fail.
		}
		return fmt.Sprintf("%q", b), true
	case string:
		return fmt.Sprintf("%q", x), true
	default:
		if v.Kind() == reflect.String {
			return fmt.Sprintf("%q", v.String()), true
		}
		return fmt.Sprint(x), true
	}
}
