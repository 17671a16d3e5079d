package webpage

import (
	"strings"
	"testing"
)

const frame = "<style>/* page.css */</style><script>/* page.js */</script>"

func TestAssemble(t *testing.T) {
	document, policy := Assemble(frame, "a{}", "x()")
	if got, want := string(document), "<style>"+colors+"a{}</style><script>x()</script>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, want := range []string{
		"default-src 'none'; ", "script-src 'sha256-D6IGS8VMvCoyaR/l0h9tERrBTATY01CoPS7l6xDv0kI='; ", "style-src " +
			Source(colors+"a{}") + "; ",
		"connect-src 'self'; ", "base-uri 'none'; ", "form-action 'none'; ", "frame-ancestors 'none'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("got %s, want %s in it", policy, want)
		}
	}
}

func TestAssembleParts(t *testing.T) {
	for name, parts := range map[string][3]string{
		"the script ends its element": {frame, "", "'</Script>'"},
		"the style ends its element":  {frame, "</style>", ""},
		"no place for the script":     {"<style>/* page.css */</style>", "", ""},
		"two places for the style":    {frame + "/* page.css */", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got a document, want a panic")
				}
			}()
			Assemble(parts[0], parts[1], parts[2])
		})
	}
}

// TestColors: each color has a light and a dark value.
func TestColors(t *testing.T) {
	if n := strings.Count(colors, "--"); n == 0 || n != strings.Count(colors, "light-dark(") {
		t.Errorf("not every color has a light and a dark value:\n%s", colors)
	}
}
