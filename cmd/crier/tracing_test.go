package main

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/logtest"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpCollector is a collector that records the spans that it gets by OTLP over HTTP.
type otlpCollector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span                // Guarded by mu.
	about map[string]*common.AnyValue // Guarded by mu: attributes of the last resource.
	raw   []byte                      // Guarded by mu: all bodies.
}

func newCollector(t *testing.T) *otlpCollector {
	c := &otlpCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Errorf("the collector got %v", err)
				return
			}
		}
		b, err := io.ReadAll(body)
		var request otlp.TracesData // The same on the wire as an ExportTraceServiceRequest.
		if err == nil {
			err = proto.Unmarshal(b, &request)
		}
		if err != nil || r.Method != "POST" || r.URL.Path != "/base/v1/traces" ||
			r.Header.Get("Authorization") != "Basic abc" {
			t.Errorf("the collector got %s %s, %q: %v", r.Method, r.URL, r.Header, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw = append(c.raw, b...)
		for _, of := range request.ResourceSpans {
			c.about = attributes(of.Resource.Attributes)
			for _, scope := range of.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // An ExportTraceServiceResponse without fields.
	}))
	t.Cleanup(c.Close)
	return c
}

func attributes(list []*common.KeyValue) map[string]*common.AnyValue {
	m := make(map[string]*common.AnyValue)
	for _, a := range list {
		m[a.Key] = a.Value
	}
	return m
}

// publishTraced publishes with a traceparent, and returns the status and body of the answer.
func publishTraced(t *testing.T, addr, token, traceparent, text string) (int, string) {
	t.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequest("POST", "http://"+addr+"/v1/publish/", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Traceparent", traceparent)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

// TestTracing checks that a collector gets the span of a sampled request, in the trace of its sender, before crier
// ends.
func TestTracing(t *testing.T) {
	token := strings.Repeat("s3cret", 4)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc")
	t.Setenv("OTEL_SERVICE_NAME", "town")
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--admin-token-file="+file,
		"--otlp-endpoint="+c.URL+"/base/")
	for traceparent, text := range map[string]string{
		"00-" + traceID + "-" + parentID + "-01":                  "this one is sampled",
		"00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00": "this one is not",
	} {
		if status, body := publishTraced(t, addrs["admin"], token, traceparent, text); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("crier ended with %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 1 {
		t.Fatalf("got %d spans, want 1: %v", len(c.spans), c.spans)
	}
	span := c.spans[0]
	if hex.EncodeToString(span.TraceId) != traceID || hex.EncodeToString(span.ParentSpanId) != parentID ||
		span.Kind != otlp.Span_SPAN_KIND_SERVER ||
		span.EndTimeUnixNano < span.StartTimeUnixNano || len(span.Events) != 1 {
		t.Errorf("got %v", span)
	}
	if got := attributes(span.Attributes)["messaging.message.body.size"].GetIntValue(); got != int64(len("this one is "+
		"sampled")) {
		t.Errorf("got the size %d", got)
	}
	if c.about["service.name"].GetStringValue() != "town" || c.about["service.version"].GetStringValue() == "" {
		t.Errorf("got the resource %v", c.about)
	}
	for _, secret := range []string{token, "this one is"} {
		if strings.Contains(string(c.raw), secret) {
			t.Errorf("the collector got %q", secret)
		}
	}
}

// TestTracingFullPath checks that spans arrive whether --otlp-endpoint is the base URL of the collector or its full
// URL for traces.
func TestTracingFullPath(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc")
	for _, path := range []string{"/base", "/base/", "/base/v1/traces", "/base/v1/traces/"} {
		c := newCollector(t) // It refuses all other paths.
		addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--otlp-endpoint="+c.URL+path)
		if status, body := publishTraced(t, addrs["admin"], "", "00-"+traceID+"-"+parentID+"-01", "hello"); status != 200 {
			t.Fatalf("%s: got %d %s", path, status, body)
		}
		if err := stop(); err != nil {
			t.Errorf("%s: crier ended with %v", path, err)
		}
		c.mu.Lock()
		if len(c.spans) != 1 {
			t.Errorf("%s: got %d spans, want 1", path, len(c.spans))
		}
		c.mu.Unlock()
	}
}

// TestTracingWithoutCollector checks that a missing or hanging collector delays requests and the end only briefly,
// and that it is logged.
func TestTracingWithoutCollector(t *testing.T) {
	t.Parallel()
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices a closed connection only after the body is read.
		<-r.Context().Done()
	}))
	defer hanging.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, url := range map[string]string{"hanging": hanging.URL, "missing": gone.URL} {
		var log logtest.Buffer
		_, addrs, stop := startLogged(t, &log, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--otlp-endpoint="+url)
		if status, body := publishTraced(t, addrs["admin"], "", "00-"+traceID+"-"+parentID+"-01", "hello"); status != 200 {
			t.Errorf("%s: got %d %s", name, status, body)
		}
		if err := stop(); err != nil {
			t.Errorf("%s: crier ended with %v", name, err)
		}
		if !log.Has("spans are lost") || !log.Has("level=WARN") {
			t.Errorf("%s: the log does not report lost spans: %s", name, log.String())
		}
	}
}

// TestTracingOff checks that OpenTelemetry has goroutines only with --otlp-endpoint.
func TestTracingOff(t *testing.T) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: time.Minute}
	for want, args := range map[bool][]string{false: nil, true: {"--otlp-endpoint=http://127.0.0.1:9"}} {
		addrs, stop := startCrier(t, append(args, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")...)
		runs := func() bool {
			_, body := fetch(t, client, "http://"+addrs["admin"]+"/debug/pprof/goroutine?debug=1", nil)
			return strings.Contains(string(body), "opentelemetry")
		}
		if want { // A goroutine has the package in its stack only after it has run.
			criertest.Eventually(t, "a goroutine of OpenTelemetry", runs)
		} else if runs() {
			t.Errorf("%q: a goroutine of OpenTelemetry runs, want none", args)
		}
		if err := stop(); err != nil {
			t.Errorf("%q: crier ended with %v", args, err)
		}
	}
}
