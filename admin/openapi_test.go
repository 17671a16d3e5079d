package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/httpjson"
)

// document is the part of openapi.json that the tests read.
type document struct {
	Servers []any
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Parameters  []struct{ Name, In string }
		Security    *[]any
		RequestBody struct{ Content map[string]any } `json:"requestBody"`
		Responses   map[string]response
	}
	Components struct {
		Responses map[string]response
		Schemas   map[string]struct {
			Properties map[string]struct {
				Codes []httpjson.Code `json:"x-extensible-enum"`
			}
		}
	}
}

type response struct {
	Ref     string `json:"$ref"`
	Content map[string]json.RawMessage
}

func openDocument(t *testing.T) (d document) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	for _, ops := range d.Paths {
		for _, op := range ops {
			for status, r := range op.Responses {
				if r.Ref != "" {
					op.Responses[status] = d.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
				}
			}
		}
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
	op, ok := openDocument(t).Paths[path][strings.ToLower(strings.Replace(method, "HEAD", "GET", 1))]
	if !ok || w.Code == http.StatusMethodNotAllowed {
		if path != "/metrics" && !slices.Contains([]int{301, 400, 404, 405}, w.Code) {
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
	var p httpjson.Problem
	if w.Code >= 400 && (json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Error == "" || httpjson.Statuses[p.Code] != w.Code) {
		t.Errorf("%s %s: status %d with %s", method, path, w.Code, w.Body)
	}
	seen.Store(fmt.Sprintf("%s %s %d", method, path, w.Code), true)
}

// TestDocument: all routes are documented and nothing else is, and each documented answer is given.
func TestDocument(t *testing.T) {
	for _, test := range []func(*testing.T){
		TestPublish, TestBatch, TestIdempotency, TestChannelsAndConnections, TestToken, TestBehind, TestDraining, TestNotLive,
		TestPage, TestQueries, TestBodies, TestAllConnections,
	} {
		test(t)
	}
	b := newBack(t, Config{})
	var routes []string
	queries := make(map[string][]string)
	for pattern, route := range b.routes() {
		pattern = strings.NewReplacer("...", "", "{$}", "").Replace(pattern)
		routes = append(routes, pattern)
		queries[pattern] = route.query
	}
	var documented []string
	for path, ops := range openDocument(t).Paths {
		for method, op := range ops {
			name := strings.ToUpper(method) + " " + path
			documented = append(documented, name)
			var query []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					query = append(query, p.Name)
				}
			}
			if !slices.Equal(slices.Sorted(slices.Values(query)), slices.Sorted(slices.Values(queries[name]))) {
				t.Errorf("%s: the parameters %q are documented, and %q are read", name, query, queries[name])
			}
			open := path == "/" || path == "/livez" || path == "/readyz"
			if op.OperationID == "" || open != (op.Security != nil && len(*op.Security) == 0) {
				t.Errorf("%s: operationId %q, security %v", name, op.OperationID, op.Security)
			}
			for status := range op.Responses {
				if status == "403" {
					continue // Middleware in cmd/crier gives this answer.
				}
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
	codes := openDocument(t).Components.Schemas["Problem"].Properties["code"].Codes
	if got, want := slices.Sorted(slices.Values(codes)), slices.Sorted(maps.Keys(httpjson.Statuses)); !slices.Equal(got, want) {
		t.Errorf("codes:\n%q\ndocumented:\n%q", want, got)
	}
	if _, body := b.do("GET", "/v1/openapi.json", ""); !bytes.Equal([]byte(body), openAPI) {
		t.Error("the document that is served is another one")
	}
}
