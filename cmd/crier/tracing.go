package main

import (
	"context"
	"errors"
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

// collector is the base URL of an OpenTelemetry collector on the command line, or "".
type collector string

// UnmarshalText checks a URL.
func (c *collector) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	switch {
	case len(text) == 0: // Off.
	case err != nil, u.Scheme != "http" && u.Scheme != "https", !hasAddress(u):
		return fmt.Errorf("%q is not the URL of a collector; want a URL such as http://127.0.0.1:4318", text)
	case u.User != nil, strings.ContainsAny(string(text), "?#"): // Not quoted, because it may be a secret.
		return errors.New("it has a user, a query or a fragment; want a URL such as http://127.0.0.1:4318, " +
			"and credentials in OTEL_EXPORTER_OTLP_HEADERS")
	}
	*c = collector(text)
	return nil
}

// traces returns the URL for spans: /v1/traces of the base URL (OpenTelemetry's specification, "OTLP Exporter
// Configuration"), or the URL itself if it already ends so.
func (c collector) traces() (string, error) {
	base := strings.TrimRight(string(c), "/")
	return url.JoinPath(strings.TrimSuffix(base, "/v1/traces"), "v1", "traces")
}

// Limits of the spans that are queued for a collector. Spans beyond the limits are dropped, and attributes cut.
const (
	maxSpans      = 1024
	maxAttribute  = 1024     // Bytes.
	tracingMemory = 16 << 20 // Bytes of --memory that tracing may use.
	// flushTime is how long crier waits at its end until a collector has accepted the last spans.
	flushTime = 2 * time.Second
)

// startTracing returns a provider whose spans are sent to a collector, by OTLP over HTTP. stop sends the queued
// spans, for flushTime at most. Without a collector, the provider is nil, and nothing runs.
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
	// The environment is last, so it has precedence.
	attributes, err := resource.New(ctx, resource.WithHost(), resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("crier"), semconv.ServiceVersion(version())), resource.WithFromEnv())
	if err != nil {
		return fail(err)
	}

	otel.SetErrorHandler(&tracingErrors{logger: logger, everyMinute: rate.Sometimes{Interval: time.Minute}})
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxAttribute
	p := sdk.NewTracerProvider(sdk.WithResource(attributes), sdk.WithRawSpanLimits(limits),
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
		e.logger.Warn("spans are lost: the collector of --otlp-endpoint does not accept them", "err", err)
	})
}
