package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"
)

// settingsFile is the value of --config.
type settingsFile string

// BeforeResolve reads the file. kong calls it before it sets the flags that are not on the command line.
func (f settingsFile) BeforeResolve(ctx *kong.Context, trace *kong.Path, c *cli) error {
	name := string(ctx.FlagValue(trace.Flag).(settingsFile)) // f has not been set yet.
	if strings.TrimSpace(name) == "" {
		return errors.New("--config is empty, want FILE, or leave it out")
	}
	if c.piped != nil {
		c.file = c.piped
		ctx.AddResolver(c.file)
		return nil
	}
	file := kong.ExpandPath(name)
	b, err := readSetting(file)
	if err != nil {
		return fileError("--config", file, err)
	}
	c.file, err = parseConfig(file, b)
	c.file.once = checkRegular(file) != nil
	if err == nil {
		ctx.AddResolver(c.file)
	}
	return err
}

// configFile holds the flags of a TOML file, as a kong.Resolver. The environment and the command line have precedence.
type configFile struct {
	name     string
	values   map[string]any
	resolved map[string]bool // The flags that were set from the file.
	once     bool            // Whether the file can be read only once, as a pipe.
}

// unlessRegular returns a copy of f for another parse if the file cannot be read again, or nil if it can. f may be nil.
func (f *configFile) unlessRegular() *configFile {
	if f == nil || !f.once {
		return nil
	}
	return &configFile{name: f.name, values: f.values, resolved: make(map[string]bool), once: true}
}

// parseConfig parses the bytes of the file called name.
func parseConfig(name string, b []byte) (*configFile, error) {
	f := &configFile{name: "--config " + name, resolved: make(map[string]bool)}
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // Some editors on Windows write a byte order mark.
	if err := toml.Unmarshal(b, &f.values); err != nil {
		where := f.name
		if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
			line, column := at.Position()
			where = fmt.Sprintf("%s: line %d, column %d", f.name, line, column)
		}
		return f, hinted(fmt.Errorf("%s: %w", where, err),
			"write lines such as max-message = \"2MiB\"; crier config --template prints all of them")
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if isNested(f.values[key]) {
			errs = append(errs, fmt.Errorf("%s: [%s] is a table, want lines such as listen = \":18000\"", f.name, key))
		}
	}
	return f, hinted(errors.Join(errs...), "crier config --template prints all lines that a file can have")
}

// isNested reports whether a value is a table, or a list of tables or lists.
func isNested(value any) bool {
	list, ok := value.([]any)
	if !ok {
		_, table := value.(map[string]any)
		return table
	}
	return slices.ContainsFunc(list, func(item any) bool {
		_, inner := item.([]any)
		return inner || isNested(item)
	})
}

// Validate returns an error that names the keys that are not flags of serving. kong calls it.
func (f *configFile) Validate(app *kong.Application) error {
	var known []string
	for _, cmd := range app.Leaves(true) {
		if cmd.Name == "serve" {
			for _, flag := range cmd.Flags {
				if flag.Name != "config" {
					known = append(known, flag.Name)
				}
			}
		}
	}
	var errs []error
	var near []string
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if slices.Contains(known, key) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: there is no %s", f.name, key))
		word := strings.ToLower(strings.ReplaceAll(key, "_", "-"))
		if flag := nearest(word, known); distance(word, flag) <= max(2, len(word)/3) {
			near = append(near, flag)
		}
	}
	hint := "crier config --template prints all flags"
	if len(near) > 0 {
		slices.Sort(near)
		hint = fmt.Sprintf("did you mean %s? %s", strings.Join(slices.Compact(near), ", "), hint)
	}
	return hinted(errors.Join(errs...), "%s", hint)
}

// Resolve returns the value of a flag in the file, as it would be written on the command line, or nil if the file does
// not set it.
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
		return nil, nil // As if the flag were not given.
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	return strings.Join(texts, ","), nil
}

// fromEnvironment returns the variable that sets a flag, or "".
func fromEnvironment(flag *kong.Flag) string {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name
		}
	}
	return ""
}

// nearest returns the element of words with the smallest distance from word.
func nearest(word string, words []string) string {
	return slices.MinFunc(words, func(a, b string) int { return distance(word, a) - distance(word, b) })
}

// distance returns the Levenshtein distance of two words.
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

// configCmd has the flags of printing the settings of serving.
type configCmd struct {
	serveCmd `embed:""`

	Template bool `help:"Print a file for --config with all defaults, commented out, instead of the settings in effect."`
}

// Help is shown by --help.
func (*configCmd) Help() string {
	return `Takes the flags of serve, and prints each with its source: the command line, the environment, ` +
		`the file of --config, or its default. The output is a valid file for --config. ` +
		`Examples: crier config --template > crier.toml; crier config --config crier.toml.`
}

// Run prints the settings or the template. kong calls it.
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
			line = fmt.Sprintf("# %s\n%s\n", withoutDefault(flag.Help), templateLine(flag, derived))
		}
		_, err = fmt.Fprintln(out, line)
		if err != nil {
			return err
		}
	}
	return nil
}

// withoutDefault returns a help text without its default, which the template has in the next line.
func withoutDefault(help string) string {
	before, _, _ := strings.Cut(help, " (default:")
	return strings.TrimSuffix(before, ".") + "."
}

// origin returns the source of a flag's value: "command line", "file", "environment, NAME" or "default".
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

// quoted returns s as a TOML string. It is a JSON string, except that TOML wants DEL escaped.
func quoted(s string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // Encoding a string into a Builder cannot fail.
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

// text returns a flag's value in TOML. given is false if the value is a nil pointer.
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
	case interface{ Text() string }: // Types of internal/flags.
		return quoted(x.Text()), true
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			panic(err) // No type of a flag returns one.
		}
		return quoted(string(b)), true
	default:
		if v.Kind() == reflect.String {
			return quoted(v.String()), true
		}
		return fmt.Sprint(x), true
	}
}
