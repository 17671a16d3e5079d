package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

const (
	traceID  = "0af7651916cd43dd8448eb211c80319c"
	parentID = "b7ad6b7169203331"
)

// TestTrace: a request that publishes has a span, whose parent is the sender's span.
func TestTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	b := newBack(t, Config{Token: "token", TracerProvider: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))})
	b.join("news")
	for _, tt := range []struct {
		name, path, body, traceparent string
		status                        int
		child                         bool
		want                          map[attribute.Key]any
	}{
		{"child", "/v1/publish/news", "hello", "00-" + traceID + "-" + parentID + "-01", 200, true,
			map[attribute.Key]any{
				"messaging.destination.name": "news", "messaging.message.body.size": int64(5), "crier.receivers": int64(1),
				"http.request.method": "POST", "http.route": "/v1/publish/{channel...}", "url.path": "/v1/publish/news",
				"url.scheme": "http", "server.address": "example.com", "network.protocol.version": "1.1",
				"network.peer.address": "192.0.2.1", "network.peer.port": int64(1234), "client.address": "192.0.2.1",
				"http.request.body.size": int64(5)}},
		{"root", "/v1/publish/news", "hello", "", 200, false,
			map[attribute.Key]any{"messaging.destination.name": "news", "messaging.system": "crier"}},
		{"malformed", "/v1/publish/", "", "00-" + traceID + "-0000000000000000-01", 200, false,
			map[attribute.Key]any{"messaging.destination.name": "", "crier.receivers": int64(0)}},
		{"batch", "/v1/publish", `{"channel":"a","data":"1"}` + "\n" + `{"channel":"b","data":"2"}`, "00-" + traceID + "-" + parentID + "-01", 200, true,
			map[attribute.Key]any{"messaging.batch.message_count": int64(2), "messaging.operation.name": "publish"}},
		{"too large", "/v1/publish/news", strings.Repeat("x", 2000), "", 413, false, nil},
		{"not text", "/v1/publish/news", "\xff", "", 400, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spans.Reset()
			b.head = http.Header{"Authorization": {"Bearer token"}}
			if tt.traceparent != "" {
				b.head.Set("Traceparent", tt.traceparent)
				b.head.Set("Tracestate", "vendor=1")
			}
			status, body := b.do("POST", tt.path, tt.body)
			if status != tt.status {
				t.Fatalf("got %d %s, want %d", status, body, tt.status)
			}
			if len(spans.Ended()) != 1 {
				t.Fatalf("got %d spans, want 1", len(spans.Ended()))
			}
			span := spans.Ended()[0]
			parent := span.Parent()
			child := parent.TraceID().String() == traceID && parent.SpanID().String() == parentID && parent.IsRemote() &&
				span.SpanContext().TraceID().String() == traceID && span.SpanContext().TraceState().String() == "vendor=1"
			if root := !parent.IsValid(); child != tt.child || root == tt.child {
				t.Errorf("got the parent %+v, want it to be there: %t", parent, tt.child)
			}
			if route, _, _ := strings.Cut(tt.path, "news"); span.SpanKind() != trace.SpanKindServer || !strings.HasPrefix(span.Name(), "POST "+route) {
				t.Errorf("got %v %q", span.SpanKind(), span.Name())
			}
			got := make(map[attribute.Key]any)
			for _, a := range span.Attributes() {
				got[a.Key] = a.Value.AsInterface()
				if strings.Contains(a.Value.String(), "token") {
					t.Errorf("%s has what is secret: %s", a.Key, a.Value.String())
				}
			}
			if tt.want == nil {
				tt.want = map[attribute.Key]any{"messaging.system": nil}
			}
			tt.want["http.response.status_code"] = int64(tt.status)
			for key, want := range tt.want {
				if got[key] != want {
					t.Errorf("%s: got %v, want %v", key, got[key], want)
				}
			}
			var p published
			if err := json.Unmarshal([]byte(body), &p); err == nil && p.ID != "" && got["messaging.message.id"] != p.ID {
				t.Errorf("the message's id: got %v, want %v", got["messaging.message.id"], p.ID)
			}
		})
	}
}

// TestTraceOthers: requests that do not publish or are not authorized have no span. A failure of the server is an error
// of its span.
func TestTraceOthers(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	b := newBack(t, Config{Token: "token", TracerProvider: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))})
	b.do("POST", "/v1/publish/news", "hello")
	b.head.Set("Authorization", "Bearer token")
	b.do("GET", "/v1/channels", "")
	b.do("GET", "/v1/publish/news", "")
	if n := len(spans.Started()); n != 0 {
		t.Errorf("got %d spans, want none", n)
	}
	if err := b.srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, body := b.do("POST", "/v1/publish/news", "hello"); status != 503 || len(spans.Ended()) != 1 || spans.Ended()[0].Status().Code != codes.Error {
		t.Errorf("the server is closed: got %d %s, and %d spans", status, body, len(spans.Ended()))
	}
}

// TestTraceOff: without a provider, tracing costs nothing.
func TestTraceOff(t *testing.T) {
	f := func(http.ResponseWriter, *http.Request) {}
	if got := traced(nil, f); reflect.ValueOf(got).Pointer() != reflect.ValueOf(f).Pointer() {
		t.Error("the handler is wrapped")
	}
	r := httptest.NewRequest("POST", "/v1/publish/news", nil)
	r.Header.Set("Traceparent", "00-"+traceID+"-"+parentID+"-01")
	if n := testing.AllocsPerRun(100, func() {
		spanBodyRead(r, 5)
		spanPublished(r, "news", 5, published{"1", 1})
		spanBatch(r, 1)
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
