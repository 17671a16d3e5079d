package admin

import (
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// traced makes a span of each request to f: a child of the one that its traceparent names (W3C
// Trace Context), if any. Without a provider it is f.
func traced(provider trace.TracerProvider, f http.HandlerFunc) http.HandlerFunc {
	if provider == nil {
		return f
	}
	return otelhttp.NewHandler(f, "publish", otelhttp.WithTracerProvider(provider),
		otelhttp.WithPropagators(propagation.TraceContext{}), otelhttp.WithMeterProvider(noop.NewMeterProvider())).ServeHTTP
}

// spanOf is a request's span, or one that takes nothing if there is none.
func spanOf(r *http.Request) trace.Span { return trace.SpanFromContext(r.Context()) }

// spanPublished says in a request's span what was published, of size bytes.
func spanPublished(r *http.Request, channel string, size int, p published) {
	if span := spanOf(r); span.IsRecording() {
		span.SetAttributes(messagingSystem, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
			semconv.MessagingDestinationName(channel), semconv.MessagingMessageBodySize(size),
			semconv.MessagingMessageID(p.ID))
		if p.Receivers != unknown {
			span.SetAttributes(attribute.Int("crier.receivers", int(p.Receivers)))
		}
	}
}

// spanBatch is spanPublished of a batch.
func spanBatch(r *http.Request, n int) {
	if span := spanOf(r); span.IsRecording() {
		span.SetAttributes(messagingSystem, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
			semconv.MessagingBatchMessageCount(n))
	}
}

var messagingSystem = semconv.MessagingSystemKey.String("crier")
