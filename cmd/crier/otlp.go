package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// otlpClient sends spans to a collector by OTLP over HTTP, in protobuf (OpenTelemetry's specification, "OTLP/HTTP"). It
// is an otlptrace.Client. OpenTelemetry's own client, otlptracehttp, would link gRPC into crier: 66 packages.
type otlpClient struct {
	// Immutable after construction.
	url      string
	header   http.Header
	compress bool
	http     *http.Client
}

// Limits of one export.
const (
	otlpTimeout    = 10 * time.Second // For one request, unless the environment says otherwise.
	otlpFirstRetry = time.Second      // Doubled at each retry. The batch span processor ends an export after 30 s.
	maxOTLPError   = 1024             // Bytes of a collector's answer that are logged.
)

// newOTLPClient returns a client for a collector's URL for traces, with the settings that the environment has for it
// (OpenTelemetry's specification, "OTLP Exporter Configuration").
func newOTLPClient(target string) (*otlpClient, error) {
	c := &otlpClient{url: target, header: http.Header{
		"Content-Type": {"application/x-protobuf"}, "User-Agent": {"crier/" + version()}}}
	if err := c.addHeaders(otlpEnv("HEADERS")); err != nil {
		return nil, err
	}
	switch compression := otlpEnv("COMPRESSION"); compression {
	case "gzip":
		c.compress = true
		c.header.Set("Content-Encoding", "gzip")
	case "", "none":
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION is %q, want gzip or none", compression)
	}
	timeout := otlpTimeout
	if ms := otlpEnv("TIMEOUT"); ms != "" {
		n, err := strconv.Atoi(ms)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT is %q, want a number of milliseconds above 0", ms)
		}
		timeout = time.Duration(n) * time.Millisecond
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	var err error
	if transport.TLSClientConfig, err = otlpTLS(); err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: transport, Timeout: timeout}
	return c, nil
}

// otlpEnv returns a setting of the environment: the one for traces, or else the one for all signals.
func otlpEnv(name string) string {
	if v := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
		return v
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_" + name)
}

// addHeaders adds headers written as KEY=VALUE,..., with values in percent-encoding.
func (c *otlpClient) addHeaders(list string) error {
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		key = strings.TrimSpace(key)
		if !ok || err != nil || !httpguts.ValidHeaderFieldName(key) || !httpguts.ValidHeaderFieldValue(value) {
			// The error does not quote the value, which may be a secret.
			return errors.New("OTEL_EXPORTER_OTLP_HEADERS cannot be read, want KEY=VALUE,... with values in percent-encoding")
		}
		c.header.Set(key, value)
	}
	return nil
}

// otlpTLS returns the TLS settings of the environment, or nil if it has none.
func otlpTLS() (*tls.Config, error) {
	ca, cert, key := otlpEnv("CERTIFICATE"), otlpEnv("CLIENT_CERTIFICATE"), otlpEnv("CLIENT_KEY")
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	cfg := &tls.Config{}
	if ca != "" {
		pem, err := readSetting(ca)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s has no certificate in PEM", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := readKeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// readKeyPair reads a certificate and its private key from files.
func readKeyPair(cert, key string) (tls.Certificate, error) {
	certPEM, certErr := readSetting(cert)
	keyPEM, keyErr := readSetting(key)
	if err := errors.Join(certErr, keyErr); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// Start does nothing: the first request connects. It is otlptrace.Client's.
func (c *otlpClient) Start(context.Context) error { return nil }

// Stop closes idle connections. It does not wait for UploadTraces, which ends with its context. It is
// otlptrace.Client's.
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends spans. While the collector is temporarily unavailable, it retries until ctx is done. It is
// otlptrace.Client's.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	// On the wire this is an ExportTraceServiceRequest, whose package would link gRPC.
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.compress {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // Writing to a bytes.Buffer cannot fail.
		_ = z.Close()
		body = b.Bytes()
	}
	for wait := otlpFirstRetry; ; wait *= 2 {
		retry, after, err := c.post(ctx, body)
		if !retry {
			return err
		}
		select {
		case <-time.After(max(wait, after)):
		case <-ctx.Done():
			return err
		}
	}
}

// post sends one request. retry reports whether the collector may accept the same spans later, but not before after.
func (c *otlpClient) post(ctx context.Context, body []byte) (retry bool, after time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	r.Header = c.header.Clone()
	resp, err := c.http.Do(r)
	if err != nil {
		return false, 0, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxOTLPError))
	if resp.StatusCode/100 == 2 {
		return false, 0, rejectedSpans(text)
	}
	err = fmt.Errorf("POST %s: %s: %q", c.url, resp.Status, text)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return true, time.Duration(max(0, min(seconds, 3600))) * time.Second, err
	}
	return false, 0, err
}

// rejectedSpans returns an error if a collector accepted only some of the spans. answer is an
// ExportTraceServiceResponse; its field 1, partial_success, has the number of rejected spans in field 1 and the
// reason in field 2.
func rejectedSpans(answer []byte) error {
	partial := otlpField(answer, 1)
	if n, _ := protowire.ConsumeVarint(otlpField(partial, 1)); n != 0 {
		return fmt.Errorf("the collector rejected %d spans: %q", n, otlpField(partial, 2))
	}
	return nil
}

// otlpField returns the value of a field of a message: the bytes of a string or a message, or the encoded integer. It
// returns nil if the message does not have the field. The value shares memory with the message.
func otlpField(message []byte, number protowire.Number) []byte {
	for len(message) > 0 {
		num, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(num, kind, message)
		if size < 0 {
			return nil
		}
		if value := message[:size]; num == number {
			if kind == protowire.BytesType {
				value, _ = protowire.ConsumeBytes(value)
			}
			return value
		}
		message = message[size:]
	}
	return nil
}
