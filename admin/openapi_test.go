package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// document is what the tests look at of openapi.json.
type document struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]json.RawMessage
		}
	}
}

func openDocument(t *testing.T) (d document) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// checkDocumented compares an answer with the document.
func checkDocumented(t *testing.T, method, target string, w *httptest.ResponseRecorder) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	for prefix, template := range map[string]string{"/v1/publish/": "/v1/publish/{channel}", "/v1/channels/": "/v1/channels/{channel}", "/v1/connections/": "/v1/connections/{id}"} {
		if strings.HasPrefix(path, prefix) {
			path = template
		}
	}
	op, ok := openDocument(t).Paths[path][strings.ToLower(method)]
	if !ok {
		if w.Code != 404 && w.Code != 405 {
			t.Errorf("%s %s, which is not documented: got %d", method, path, w.Code)
		}
		return
	}
	response, ok := op.Responses[fmt.Sprint(w.Code)]
	if !ok {
		t.Errorf("%s %s: status %d is not documented", method, path, w.Code)
	}
	if typ := w.Header().Get("Content-Type"); (response.Content == nil) != (typ == "") || typ != "" && response.Content[typ] == nil {
		t.Errorf("%s %s: status %d with Content-Type %q is not documented", method, path, w.Code, typ)
	}
	seen.Store(fmt.Sprintf("%s %s %d", method, path, w.Code), true)
}

// TestDocument: all routes are documented and nothing else is, and each documented answer is given.
func TestDocument(t *testing.T) {
	for _, test := range []func(*testing.T){TestPublish, TestBatch, TestIdempotency, TestChannelsAndConnections, TestToken, TestBehind, TestDraining, TestNotLive, TestPage} {
		test(t)
	}
	b := newBack(t, Config{})
	var routes []string
	for pattern := range b.routes() {
		routes = append(routes, strings.NewReplacer("...", "", "{$}", "").Replace(pattern))
	}
	var documented []string
	for path, ops := range openDocument(t).Paths {
		for method, op := range ops {
			documented = append(documented, strings.ToUpper(method)+" "+path)
			for status := range op.Responses {
				if _, ok := seen.Load(strings.ToUpper(method) + " " + path + " " + status); !ok {
					t.Errorf("%s %s %s is documented and was not met", method, path, status)
				}
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("routes:\n%q\ndocumented:\n%q", routes, documented)
	}
	if _, body := b.do("GET", "/v1/openapi.json", ""); !bytes.Equal([]byte(body), openAPI) {
		t.Error("the document that is served is another one")
	}
}
