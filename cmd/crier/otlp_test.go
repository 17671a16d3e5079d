package main

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// oneSpan has the spans that the tests below send.
var oneSpan = []*otlp.ResourceSpans{{ScopeSpans: []*otlp.ScopeSpans{{Spans: []*otlp.Span{{Name: "publish"}}}}}}

// upload sends oneSpan to a collector with the settings of the environment.
func upload(t *testing.T, url string) error {
	t.Helper()
	c, err := newOTLPClient(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.UploadTraces(ctx, oneSpan)
}

// TestOTLPRetry checks that the same spans are sent again to a busy collector, but not to a collector that refuses
// them.
func TestOTLPRetry(t *testing.T) {
	for status, want := range map[int]int{429: 2, 502: 2, 503: 2, 504: 2, 400: 1, 401: 1, 500: 1} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			var bodies []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				if bodies = append(bodies, string(b)); len(bodies) == 1 {
					http.Error(w, "not now", status)
				}
			}))
			defer srv.Close()
			err := upload(t, srv.URL)
			if len(bodies) != want || bodies[0] == "" || bodies[len(bodies)-1] != bodies[0] {
				t.Errorf("got requests %q, want %d with the spans", bodies, want)
			}
			if taken := want == 2; (err == nil) != taken || err != nil && !strings.Contains(err.Error(), "not now") {
				t.Errorf("got %v, want taken: %t", err, taken)
			}
		})
	}
}

// TestOTLPRetryEnds checks that retries end with the context.
func TestOTLPRetryEnds(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	c, err := newOTLPClient(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.UploadTraces(ctx, oneSpan); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want the last answer", err)
	}
}

// TestOTLPPartialSuccess checks for an error if a collector answers 200 but rejects spans.
func TestOTLPPartialSuccess(t *testing.T) {
	partial := protowire.AppendTag(nil, 1, protowire.VarintType)
	partial = protowire.AppendVarint(partial, 7)
	partial = protowire.AppendTag(partial, 2, protowire.BytesType)
	partial = protowire.AppendString(partial, "too old")
	answer := protowire.AppendTag(nil, 1, protowire.BytesType)
	answer = protowire.AppendBytes(answer, partial)
	for _, tt := range []struct {
		answer string
		want   string // A part of the error, or "" for no error.
	}{
		{"", ""}, {string(answer), `rejected 7 spans: "too old"`}, {string(answer[:3]), ""}, {"{}", ""}, {"\x0a\x00", ""},
		{"\xff\xff", ""},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_,
				_ = io.WriteString(w, tt.answer)
		}))
		err := upload(t, srv.URL)
		srv.Close()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.answer, err, tt.want)
		}
	}
}

// TestOTLPEnvironment checks that headers, compression and the collector's certificate are read from the environment,
// and that variables for traces have precedence.
func TestOTLPEnvironment(t *testing.T) {
	var got http.Header
	var body []byte
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Errorf("got a body that is not gzip: %v", err)
			return
		}
		body, _ = io.ReadAll(z)
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-all=1")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20abc, x-b=c=d,")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", file)
	if err := upload(t, srv.URL); err != nil {
		t.Fatal(err)
	}
	if got.Get("Authorization") != "Basic abc" || got.Get("X-B") != "c=d" || got.Get("X-All") != "" ||
		got.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("got headers %q", got)
	}
	var request otlp.TracesData
	if err := proto.Unmarshal(body, &request); err != nil || len(request.ResourceSpans) != 1 {
		t.Errorf("got %v, %v", &request, err)
	}
}

// TestOTLPEnvironmentFaults checks that an invalid variable is an error, and that the error contains no secret.
func TestOTLPEnvironmentFaults(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, value string }{
		{"HEADERS", "s3cret"}, {"HEADERS", "=s3cret"}, {"HEADERS", "a=%s3cret"},
		{"HEADERS", "Authorization: Bearer s3cret=="}, {"HEADERS", "a=s3cret%0a"},
		{"COMPRESSION", "zip"}, {"TIMEOUT", "10s"}, {"TIMEOUT", "0"}, {"TIMEOUT", "-1"},
		{"CERTIFICATE", filepath.Join(dir, "none")}, {"CERTIFICATE", empty}, {"CLIENT_CERTIFICATE", empty},
		{"CLIENT_KEY", empty},
	} {
		t.Run(tt.name+"="+filepath.Base(tt.value), func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_"+tt.name, tt.value)
			_, err := newOTLPClient("http://127.0.0.1:9/v1/traces")
			if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_"+tt.name) ||
				strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want an error that names the variable", err)
			}
		})
	}
}
