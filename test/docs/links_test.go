// Package docs checks the documents of the repository.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/doccode"
)

const root = "../.."

// documents are all Markdown files, by their paths from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs, err := doccode.Documents(root)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|<img src="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// anchor is what a heading is linked with.
func anchor(title string) string {
	title = strings.ToLower(strings.ReplaceAll(title, "`", ""))
	title = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, "")
	return strings.ReplaceAll(title, " ", "-")
}

// TestLinks: what a document links to is there, the heading too.
func TestLinks(t *testing.T) {
	docs := documents(t)
	anchors := make(map[string]map[string]bool)
	for path, text := range docs {
		anchors[path] = make(map[string]bool)
		for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			anchors[path][anchor(h[1])] = true
		}
	}
	links := 0
	for path, text := range docs {
		text = code.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") {
				continue
			}
			links++
			file, section, _ := strings.Cut(target, "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: %s is not there", path, target)
			} else if section != "" && !anchors[to][section] {
				t.Errorf("%s: %s has no heading #%s", path, to, section)
			}
		}
	}
	if links < 30 {
		t.Errorf("found %d links only", links)
	}
}

// TestReadmeLinksAll: README links to every document, and to the examples for proxies.
func TestReadmeLinksAll(t *testing.T) {
	docs := documents(t)
	linked := make(map[string]bool)
	for _, m := range link.FindAllStringSubmatch(docs["README.md"], -1) {
		file, _, _ := strings.Cut(m[1]+m[2], "#")
		linked[filepath.Clean(file)] = true
	}
	want := []string{"examples/nginx.conf", "examples/haproxy.cfg", "examples/Caddyfile", "LICENSE", "NOTICE"}
	for path := range docs {
		want = append(want, path)
	}
	for _, path := range want {
		if path != "README.md" && !linked[path] {
			t.Errorf("README.md has no link to %s", path)
		}
	}
}
