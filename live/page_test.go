package live

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/webpage"
)

// TestPagePolicy: the policy allows the page's own style and script and nothing else, and the page needs nothing else.
func TestPagePolicy(t *testing.T) {
	w := httptest.NewRecorder()
	(&Live{}).Page(w, nil)
	body, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	for tag, directive := range map[string]string{`style`: "style-src ", `script type="module"`: "script-src "} {
		name, _, _ := strings.Cut(tag, " ")
		_, rest, _ := strings.Cut(body, "<"+tag+">")
		text, _, ok := strings.Cut(rest, "</"+name)
		if !ok || len(text) < 1000 || !strings.Contains(policy, directive+webpage.Source(text)+";") {
			t.Errorf("%s: %d bytes, which the policy does not allow: %s", tag, len(text), policy)
		}
		if strings.Count(body, "<"+name) != 1 {
			t.Errorf("there is not one %s", name)
		}
	}
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	for _, wrong := range []string{`\son\w+=`, `\sstyle=`, `(src|href)="[^d#]`, `innerHTML|insertAdjacent|document\.write|eval\(|outerHTML`, `url\(`, `@import`} {
		if got := regexp.MustCompile(wrong).FindString(body); got != "" {
			t.Errorf("the page has %q", got)
		}
	}
}
