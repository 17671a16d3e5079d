package admin

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// traced returns a handler that makes a span of each request to f, with the attributes of OpenTelemetry's "Semantic
// conventions for HTTP spans". The span is a child of the span that the request's traceparent names, if it has one
// (W3C Trace Context). Without a provider, traced returns f.
func traced(provider trace.TracerProvider, f http.HandlerFunc) http.HandlerFunc {
	if provider == nil {
		return f
	}
	tracer := provider.Tracer("github.com/crier-ws/crier/admin")
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := tracer.Start(ctx, r.Pattern, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(requestAttributes(r)...))
		defer span.End()
		response := &tracedResponse{ResponseWriter: w, status: http.StatusOK}
		f(response, r.WithContext(ctx))
		span.SetAttributes(semconv.HTTPResponseStatusCode(response.status), semconv.HTTPResponseBodySize(response.size))
		if response.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	}
}

// requestAttributes describes a request of a pattern with a method, as in "POST /path".
func requestAttributes(r *http.Request) []attribute.KeyValue {
	method, route, _ := strings.Cut(r.Pattern, " ")
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(route), semconv.URLPath(r.URL.Path),
		semconv.URLScheme("http"), // The admin API has no TLS of its own.
		semconv.NetworkProtocolVersion(strings.TrimPrefix(r.Proto, "HTTP/")),
	}
	if host, port := splitAddress(r.Host); host != "" {
		attrs = append(attrs, semconv.ServerAddress(host))
		if port > 0 {
			attrs = append(attrs, semconv.ServerPort(port))
		}
	}
	client, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
	if peer, port := splitAddress(r.RemoteAddr); port > 0 { // On a Unix socket, there is no address.
		attrs = append(attrs, semconv.NetworkPeerAddress(peer), semconv.NetworkPeerPort(port))
		if client == "" {
			client = peer
		}
	}
	if client != "" {
		attrs = append(attrs, semconv.ClientAddress(client))
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, semconv.UserAgentOriginal(agent))
	}
	return attrs
}

// splitAddress splits "host:port" or "host". The port is 0 if there is none.
func splitAddress(address string) (host string, port int) {
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return strings.Trim(address, "[]"), 0
	}
	port, _ = strconv.Atoi(number)
	return host, port
}

// tracedResponse keeps the status and the size of a response for its span.
type tracedResponse struct {
	http.ResponseWriter
	status int // 200 unless WriteHeader is called.
	size   int // Bytes of the body.
}

func (t *tracedResponse) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracedResponse) Write(b []byte) (int, error) {
	n, err := t.ResponseWriter.Write(b)
	t.size += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (t *tracedResponse) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// spanBodyRead records in a request's span that the body has been read, of size bytes.
func spanBodyRead(r *http.Request, size int) {
	if span := spanOf(r); span.IsRecording() {
		span.AddEvent("body read")
		span.SetAttributes(semconv.HTTPRequestBodySize(size))
	}
}

// spanOf returns a request's span, or a span that records nothing if the request has none.
func spanOf(r *http.Request) trace.Span { return trace.SpanFromContext(r.Context()) }

// spanPublished records in a request's span what was published, of size bytes.
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

// spanBatch records in a request's span that a batch of n messages was published.
func spanBatch(r *http.Request, n int) {
	if span := spanOf(r); span.IsRecording() {
		span.SetAttributes(messagingSystem, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
			semconv.MessagingBatchMessageCount(n))
	}
}

var messagingSystem = semconv.MessagingSystemKey.String("crier")
