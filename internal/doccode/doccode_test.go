package doccode

import (
	"reflect"
	"testing"
)

func TestBlocks(t *testing.T) {
	text := "Text `one`, `two\nlines`:\n\n```sh\na\n\nb `c`\n```\n\n- item:\n\n  ```go --x\n  d\n  ```\n\nmore\n\n" +
		"    e\n\n    f\n\nend `three`\n\n    g\n"
	want := []Block{{5, "sh", "a\n\nb `c`\n"}, {13, "go --x", "d\n"}, {18, "indented", "e\n\nf\n"},
		{24, "indented", "g\n"}}
	if got := Blocks(text); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := Spans(text), []string{"one", "two lines", "three"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Comments("# a b\n#\tc d\n  //   e\nf # g\n"), []string{"c d", "e"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func command(line int, words ...string) Command { return Command{Line: line, Words: words} }

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         []Command
	}{
		{"words and quotes", `a  "b c" d'e f'g ''`, []Command{command(0, "a", "b c", "de fg", "")}},
		{"comments", "# no\na b#c # no\n", []Command{command(1, "a", "b#c")}},
		{"lists", "a && (b|c); d &", []Command{
			command(0, "a"), {Words: []string{"b"}, Subshell: true}, {Words: []string{"c"}, Subshell: true},
			{Words: []string{"d"}, Background: true}}},
		{"in the background", "a b & c=$! && d 2>&1", []Command{{Words: []string{"a", "b"}, Background: true},
			command(0, "d", "2"), command(0, "1")}},
		{"redirections", "a >b <c d 2>&1", []Command{command(0, "a", "d", "2"), command(0, "1")}},
		{"assignments", "A=1 B='c d' e F=2\nG=3", []Command{command(0, "e", "F=2")}},
		{"a line that goes on", "a \\\n  b\nc", []Command{command(0, "a", "b"), command(2, "c")}},
	} {
		if got := Commands(tt.script); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
