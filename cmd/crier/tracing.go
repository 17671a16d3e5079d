package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// collector is the base URL of an OpenTelemetry collector on the command line, or empty.
type collector string

// UnmarshalText checks a URL.
func (c *collector) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	switch {
	case len(text) == 0: // Off.
	case err != nil, u.Scheme != "http" && u.Scheme != "https", !hasAddress(u):
		return fmt.Errorf("%q is not the URL of a collector; want one as http://127.0.0.1:4318", text)
	case u.User != nil, strings.ContainsAny(string(text), "?#"): // Not shown: it may be a secret.
		return fmt.Errorf("want a URL as http://127.0.0.1:4318, and what proves who crier is in OTEL_EXPORTER_OTLP_HEADERS")
	}
	*c = collector(text)
	return nil
}

// traces is where spans go: /v1/traces of the base URL (OpenTelemetry's specification, "OTLP Exporter Configuration"),
// or the URL itself if it already ends so.
func (c collector) traces() (string, error) {
	base := strings.TrimRight(string(c), "/")
	return url.JoinPath(strings.TrimSuffix(base, "/v1/traces"), "v1", "traces")
}

// Bounds of what waits for a collector. Spans beyond them are dropped.
const (
	maxSpans      = 1024
	maxAttribute  = 1024 // bytes
	tracingMemory = 16 << 20
	// flushTime is how long the end waits for a collector to take the last spans.
	flushTime = 2 * time.Second
)

// startTracing makes what sends spans to a collector, by OTLP over HTTP, and stop, which sends those
// that wait. Without a collector it returns nil, and nothing runs.
func startTracing(c collector, logger *slog.Logger) (provider trace.TracerProvider, stop func(), err error) {
	if c == "" {
		return nil, func() {}, nil
	}
	fail := func(err error) (trace.TracerProvider, func(), error) {
		return nil, nil, wrongSetting(fmt.Errorf("--otlp-endpoint: %w", err))
	}
	target, err := c.traces()
	if err != nil {
		return fail(err)
	}
	ctx := context.Background()
	client, err := newOTLPClient(target)
	if err != nil {
		return fail(err)
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return fail(err)
	}
	// The environment comes last: it wins.
	about, err := resource.New(ctx, resource.WithHost(), resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("crier"), semconv.ServiceVersion(version())), resource.WithFromEnv())
	if err != nil {
		return fail(err)
	}

	otel.SetErrorHandler(&tracingErrors{logger: logger, everyMinute: rate.Sometimes{Interval: time.Minute}})
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxAttribute
	p := sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithRawSpanLimits(limits),
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(maxSpans), sdk.WithMaxExportBatchSize(maxSpans/4)))
	return p, func() {
		ctx, cancel := context.WithTimeout(ctx, flushTime)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			otel.Handle(err)
		}
	}, nil
}

// tracingErrors logs errors of sending spans, at most once a minute.
type tracingErrors struct {
	logger      *slog.Logger
	everyMinute rate.Sometimes
}

// Handle implements otel.ErrorHandler.
func (e *tracingErrors) Handle(err error) {
	e.everyMinute.Do(func() {
		e.logger.Warn("spans are lost: the collector of --otlp-endpoint does not take them", "err", err)
	})
}
