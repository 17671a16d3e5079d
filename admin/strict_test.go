package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/httpjson"
	"github.com/crier-ws/crier/metrics"
	"github.com/gobwas/ws/wsutil"
)

// ask makes a request and returns the answer, which is a problem with a code unless it is a success.
func (b *back) ask(method, target string, body io.Reader) (*httptest.ResponseRecorder, httpjson.Problem) {
	b.t.Helper()
	r := httptest.NewRequest(method, target, body)
	r.Header = b.head.Clone()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	checkDocumented(b.t, method, target, w)
	var p httpjson.Problem
	if w.Code >= 300 {
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code == "" || w.Header().Get("Content-Type") != "application/json" {
			b.t.Errorf("%s %s: got %d %q %s", method, target, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	return w, p
}

// TestQueries: every route refuses malformed queries and unknown parameters.
func TestQueries(t *testing.T) {
	b := newBack(t, Config{})
	b.cfg.Metrics = metrics.Handler(b.srv, metrics.Config{})
	b.mux = http.NewServeMux()
	b.addRoutes()
	conn := b.join("a%3Bb")
	id := b.srv.Connections("a;b", 1)[0].ID
	for _, target := range []string{
		"GET /v1/openapi.json", "GET /v1/live", "GET /v1/live/history", "POST /v1/publish", "POST /v1/publish/x", "GET /v1/channels",
		"GET /v1/channels/a%3Bb", "GET /v1/connections", "DELETE /v1/connections", "DELETE /v1/connections/" + id, "GET /metrics",
		"HEAD /v1/channels",
	} {
		method, path, _ := strings.Cut(target, " ")
		for _, query := range []string{"a;b", "channel=a;b", "prefix=100%", "status=4005;reason=bye", "unknown=1", "limit=1&limit=2", "channels=5;x", "%"} {
			if w, p := b.ask(method, path+"?"+query, nil); w.Code != 400 || p.Code != httpjson.BadQuery {
				t.Errorf("%s?%s: got %d %s, want 400", target, query, w.Code, w.Body)
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/"} { // What load balancers and browsers add is nobody's business.
		if w, _ := b.ask("GET", path+"?a;b=100%", nil); w.Code != 200 {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	for target, want := range map[string]string{
		"GET /v1/channels?limit=": "limit", "GET /v1/connections?limit=1e3": "limit", "GET /v1/connections?after=": "after",
		"GET /v1/connections?after=x": "after", "GET /v1/connections?address=": "192.0.2.7", "GET /v1/connections?address=1.2.3.4:5": "192.0.2.7",
		"GET /v1/connections?address=fe80::1%25eth0": "192.0.2.7", "GET /v1/connections?channel=%00": "control character",
		"DELETE /v1/connections": "channel or address", "DELETE /v1/connections?status=4000": "channel or address",
		"DELETE /v1/connections?channel=x&status=1005": "1005", "DELETE /v1/connections/" + id + "?status=1006": "1006",
		"DELETE /v1/connections/" + id + "?status=": "status", "GET /metrics?channels=": "want 1 to 1000",
		"GET /v1/channels?chanel=x": "want prefix, after or limit",
	} {
		method, path, _ := strings.Cut(target, " ")
		if w, p := b.ask(method, path, nil); w.Code != 400 || !strings.Contains(p.Error, want) {
			t.Errorf("%s: got %d %s, want 400 with %q", target, w.Code, w.Body, want)
		}
	}
	for _, query := range []string{"", "?channels=5", "?name[]=crier_connections&name[]=crier_channels"} {
		if w, _ := b.ask("GET", "/metrics"+query, nil); w.Code != 200 || !strings.Contains(w.Body.String(), "crier_connections") {
			t.Errorf("/metrics%s: got %d %s", query, w.Code, w.Body)
		}
	}
	if w, _ := b.ask("DELETE", "/v1/connections/"+id+"?status=4005&reason=bye%3B", nil); w.Code != 204 {
		t.Errorf("got %d %s, want the connection to be there still", w.Code, w.Body)
	}
	var closed wsutil.ClosedError
	if _, _, err := wsutil.ReadServerData(conn); !asClosed(err, &closed) || closed.Code != 4005 || closed.Reason != "bye;" {
		t.Errorf("its client got %v", err)
	}
}

// TestErrorsAreJSON: unknown paths and methods are answered with JSON, like all other errors.
func TestErrorsAreJSON(t *testing.T) {
	b := newBack(t, Config{Profiles: http.NotFoundHandler()})
	for target, want := range map[string]struct {
		status int
		code   httpjson.Code
		allow  string
	}{
		"GET /nothing":            {404, httpjson.NotFound, ""},
		"POST /nothing":           {404, httpjson.NotFound, ""},
		"GET /v1":                 {404, httpjson.NotFound, ""},
		"GET /metrics":            {404, httpjson.NotFound, ""},
		"GET /v1/connections/":    {404, httpjson.NotFound, ""},
		"DELETE /v1/channels/x":   {405, httpjson.MethodNotAllowed, "GET, HEAD"},
		"POST /":                  {405, httpjson.MethodNotAllowed, "GET, HEAD"},
		"PUT /livez":              {405, httpjson.MethodNotAllowed, "GET, HEAD"},
		"OPTIONS /v1/channels":    {405, httpjson.MethodNotAllowed, "GET, HEAD"},
		"HEAD /v1/live":           {405, httpjson.MethodNotAllowed, "GET"},
		"GET /v1/publish":         {405, httpjson.MethodNotAllowed, "POST"},
		"GET /v1/publish/a/b":     {405, httpjson.MethodNotAllowed, "POST"},
		"TRACE /v1/connections":   {405, httpjson.MethodNotAllowed, "DELETE, GET, HEAD"},
		"GET /v1/connections/5":   {405, httpjson.MethodNotAllowed, "DELETE"},
		"POST /debug/pprof/heap":  {405, httpjson.MethodNotAllowed, "GET, HEAD"},
		"GET /debug/pprof":        {301, httpjson.NotFound, ""},
		"GET //v1/channels":       {400, httpjson.BadPath, ""},
		"GET /v1/../v1/channels":  {400, httpjson.BadPath, ""},
		"GET http://localhost":    {400, httpjson.BadPath, ""},
		"GET /v1/channels/a%00":   {400, httpjson.BadChannel, ""},
		"DELETE /v1/connections/": {404, httpjson.NotFound, ""},
	} {
		method, path, _ := strings.Cut(target, " ")
		if w, p := b.ask(method, path, nil); w.Code != want.status || p.Code != want.code || w.Header().Get("Allow") != want.allow {
			t.Errorf("%s: got %d %s, Allow %q, want %v", target, w.Code, w.Body, w.Header().Get("Allow"), want)
		}
	}
}

// late is a body that takes too long.
type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// cut is a body that ends early.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestBodies: the status and the code tell what is wrong with a body, for a message and for a batch.
func TestBodies(t *testing.T) {
	b := newBack(t, Config{MaxBatchBytes: 2000})
	for _, tt := range []struct {
		name, header, value string
		body                io.Reader
		code                httpjson.Code
		says                string
	}{
		{"late", "", "", late{}, httpjson.BodyTimeout, "too long"},
		{"cut", "", "", cut{}, httpjson.BadBody, "early"},
		{"large", "", "", strings.NewReader(strings.Repeat("x", 2001)), httpjson.TooLarge, "larger than"},
		{"another charset", "Content-Type", "text/plain; charset=ISO-8859-1", nil, httpjson.MediaType, "UTF-8"},
		{"UTF-16", "Content-Type", "application/json; charset=utf-16", nil, httpjson.MediaType, "UTF-8"},
		{"image", "Content-Type", "image/png", nil, httpjson.MediaType, "application/octet-stream"},
		{"form with files", "Content-Type", "multipart/form-data; boundary=x", nil, httpjson.MediaType, "application/json"},
		{"no media type", "Content-Type", "text/plain; charset", nil, httpjson.MediaType, "charset=utf-8"},
		{"compressed", "Content-Encoding", "gzip", nil, httpjson.MediaType, "as it is"},
		{"long key", "Idempotency-Key", strings.Repeat("k", 256), nil, httpjson.BadHeader, "at most 255"},
	} {
		for _, target := range []string{"/v1/publish", "/v1/publish/news"} {
			b.head = make(http.Header)
			if tt.header != "" {
				b.head.Set(tt.header, tt.value)
			}
			if tt.body == nil {
				tt.body = strings.NewReader("")
			}
			w, p := b.ask("POST", target, tt.body)
			if w.Code != httpjson.Statuses[tt.code] || p.Code != tt.code || !strings.Contains(p.Error, tt.says) {
				t.Errorf("%s: %s: got %d %s, want %s with %q", tt.name, target, w.Code, w.Body, tt.code, tt.says)
			}
			if seeker, ok := tt.body.(io.Seeker); ok {
				_, _ = seeker.Seek(0, io.SeekStart)
			}
		}
	}
	for _, charset := range []string{"utf-8", "UTF8", `"utf-8"`, "us-ascii", "unicode-1-1-utf-8"} {
		b.head = http.Header{"Content-Type": {"text/plain; charset=" + charset}}
		if w, _ := b.ask("POST", "/v1/publish/news", strings.NewReader("x")); w.Code != 200 {
			t.Errorf("%s: got %d %s", charset, w.Code, w.Body)
		}
	}
}

// goWords are terms of Go that must not appear in errors.
var goWords = regexp.MustCompile(`Go |struct|unmarshal|json:|uint8|Config\.|mime:|http:`)

// TestBatchErrors: errors describe a line in terms of JSON.
func TestBatchErrors(t *testing.T) {
	b := newBack(t, Config{})
	for body, want := range map[string]string{
		`[{"channel":"x","data":"a"}]`:             "the line is an array, want an object",
		"[\n{\"channel\":\"x\",\"data\":\"a\"}\n]": "the line is an array, want an object",
		`"x"`:                               "the line is a string, want an object",
		`5`:                                 "the line is a number, want an object",
		`true`:                              "the line is a boolean, want an object",
		`null`:                              "channel is missing",
		`channel=x&data=a`:                  "the line is not JSON, want an object",
		`{"channel":"x","data":{"a":1}}`:    `data is an object, want a string`,
		`{"channel":"x","data":[1]}`:        `data is an array, want a string`,
		`{"channel":"x","data":5.5}`:        `data is a number, want a string`,
		`{"channel":["x"],"data":"a"}`:      "channel is an array, want a string",
		`{"channel":false,"data":"a"}`:      "channel is a boolean, want a string",
		`{"channel":"x","data_base64":{}}`:  "data_base64 is an object, want a string",
		`{"channel":"x","data_base64":[1]}`: "data_base64 is an array, want a string",
		`{"channel":"x","data_base64":"?"}`: "not base64",
		`{"chanel":"x","data":"a"}`:         `unknown member "chanel": want channel`,
		"{\n  \"channel\": \"x\",\n  \"data\": \"a\"}": "the line ends in the middle of the JSON",
		`{"channel":"x","data":"a"`:                    "the line ends in the middle of the JSON",
		`{"channel":"x" "data":"a"}`:                   "at byte 16",
		`{"channel":"x","channel":"y","data":"a"}`:     "more than once",
		`{"channel":"x","data":"a","data":"b"}`:        "more than once",
		`{"channel":"x","data":"a","Data":null}`:       "more than once",
		`{"channel":"x","data":"a"}{}`:                 "goes on after the message",
		`{"channel":"x"}`:                              "either data or data_base64",
		``:                                             "the body is empty",
	} {
		w, p := b.ask("POST", "/v1/publish", strings.NewReader(body))
		line := min(1, len(body))
		if w.Code != 400 || p.Code != httpjson.BadMessage || !strings.Contains(p.Error, want) || p.Line != line || goWords.MatchString(p.Error) {
			t.Errorf("%s: got %d %s, want %q", body, w.Code, w.Body, want)
		}
	}
	if _, p := b.ask("POST", "/v1/publish", strings.NewReader(`{"channel":"x\u0000","data":"a"}`)); p.Code != httpjson.BadChannel {
		t.Errorf("a name that cannot be: got %+v", p)
	}
}
