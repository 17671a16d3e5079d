// Package admin is what a back end needs of a broadcast server, over HTTP: to
// publish, to see channels and connections, and to close one. A page for people shows the server
// at work. It is a handler for a listener of its own, which must not be the public one.
// openapi.json describes it.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/live"
	"go.opentelemetry.io/otel/trace"
)

//go:embed openapi.json
var openAPI []byte

// Config is what a Handler is made with.
type Config struct {
	// Token is what requests must bear (RFC 6750, section 2.1), or empty for any request.
	// The probes /livez and /readyz need none, nor does the page at /, which asks for it.
	Token string

	// MaxMessageBytes is the server's.
	MaxMessageBytes int

	// MaxBatchBytes bounds the body of a batch. Defaults to 4 MiB, or to MaxMessageBytes and
	// half as much again where that is more.
	MaxBatchBytes int

	// Metrics, if set, answers GET /metrics.
	Metrics http.Handler

	// TracerProvider, if set, gets a span of each request that publishes: a child of the one that
	// the header traceparent names (W3C Trace Context).
	TracerProvider trace.TracerProvider

	// Cluster, if set, knows what other servers have.
	Cluster Cluster

	// Ready, if set, says why the server is not ready, if it is not.
	Ready func() error

	// Profiles, if set, answers GET /debug/pprof/ and what is below.
	Profiles http.Handler

	// Live is what the page is made with.
	Live live.Config

	// Wait is how long publishing waits while the server is behind, before it is
	// answered 503, and /livez for workers and shards to come round. Defaults to 5 s.
	Wait time.Duration
}

// Handler answers the requests of back ends. It may be used by any number of goroutines.
type Handler struct {
	srv   *broadcast.Server
	cfg   Config
	token [sha256.Size]byte
	mux   *http.ServeMux
	page  *live.Live
	once  once
	slots chan struct{} // Each body that is read or published holds one.
	batch chan struct{} // Held by the batch that is being published: what is beyond the retention is bounded so.
}

// bodies is how many bodies are in memory at a time.
const bodies = 4

// MemoryBytes is what a Handler takes up at the most, beside what net/http does.
func (cfg Config) MemoryBytes() int {
	cfg = cfg.withDefaults()
	return bodies*3*cfg.MaxBatchBytes + maxResults*resultBytes + live.MemoryBytes
}

func (cfg Config) withDefaults() Config {
	if cfg.MaxBatchBytes == 0 {
		cfg.MaxBatchBytes = max(4<<20, cfg.MaxMessageBytes*3/2)
	}
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	return cfg
}

// New returns a handler for a server. Close must be called to release it.
func New(srv *broadcast.Server, cfg Config) *Handler {
	cfg = cfg.withDefaults()
	h := &Handler{
		srv: srv, cfg: cfg, token: sha256.Sum256([]byte(cfg.Token)), mux: http.NewServeMux(),
		page:  live.New(srv, cfg.Live),
		slots: make(chan struct{}, bodies), batch: make(chan struct{}, 1),
	}
	for pattern, f := range h.routes() {
		h.mux.HandleFunc(pattern, f)
	}
	if cfg.Metrics != nil {
		h.mux.Handle("GET /metrics", cfg.Metrics)
	}
	if cfg.Profiles != nil {
		h.mux.Handle("GET /debug/pprof/", cfg.Profiles)
	}
	return h
}

// Close ends the streams of those who have the page open, and refuses more.
func (h *Handler) Close() { h.page.Close() }

func (h *Handler) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /{$}":                      h.page.Page,
		"GET /livez":                    h.live,
		"GET /readyz":                   h.ready,
		"GET /v1/openapi.json":          h.openAPI,
		"GET /v1/live":                  h.page.Stream,
		"GET /v1/live/history":          h.page.History,
		"POST /v1/publish":              traced(h.cfg.TracerProvider, h.publishBatch),
		"POST /v1/publish/{channel...}": traced(h.cfg.TracerProvider, h.publish),
		"GET /v1/channels":              h.channels,
		"GET /v1/channels/{channel...}": h.channel,
		"GET /v1/connections":           h.connections,
		"DELETE /v1/connections/{id}":   h.disconnect,
	}
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	open := r.URL.Path == "/livez" || r.URL.Path == "/readyz" || r.URL.Path == "/"
	if h.cfg.Token != "" && !open && !h.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="crier"`)
		fail(w, http.StatusUnauthorized, "want the header Authorization: Bearer TOKEN")
		return
	}
	if path := r.URL.EscapedPath(); strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		fail(w, http.StatusBadRequest, "the path %q may be read in two ways: write %%2F for the slashes of a channel's name, and %%2E for dots", path)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// authorized compares hashes, so that neither what is right nor how long it is takes a time of its own.
func (h *Handler) authorized(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], h.token[:]) == 1
}

// problem is the body of an answer that is no success.
type problem struct {
	Error string `json:"error"`
	Line  int    `json:"line,omitempty"` // of a batch, from 1 on
}

func fail(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, problem{Error: fmt.Sprintf(format, args...)})
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // Who has gone is owed no answer.
}

// failPublish answers what publishing came to.
func failPublish(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, broadcast.ErrTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errKeyReused):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, broadcast.ErrServerClosed), errors.Is(err, broadcast.ErrUnavailable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		fail(w, http.StatusServiceUnavailable, "the server is behind: nothing was published")
		return
	}
	p := problem{Error: strings.TrimPrefix(err.Error(), "broadcast: ")}
	var line *lineError
	if errors.As(err, &line) {
		p = problem{Error: strings.TrimPrefix(line.err.Error(), "broadcast: "), Line: line.line}
	}
	answer(w, status, p)
}

func (h *Handler) live(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Wait)
	defer cancel()
	if err := h.srv.Alive(ctx); err != nil && !errors.Is(err, broadcast.ErrServerClosed) { // Its end is no illness.
		fail(w, http.StatusServiceUnavailable, "neither reading nor sending goes on, or one of them does not")
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	if h.srv.Draining() {
		fail(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if h.cfg.Ready != nil {
		if err := h.cfg.Ready(); err != nil {
			fail(w, http.StatusServiceUnavailable, "%v", err)
			return
		}
	}
	answer(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (h *Handler) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
}

type channelInfo struct {
	Channel     string  `json:"channel"`
	Connections int     `json:"connections"`
	Head        string  `json:"head,omitempty"` // Not of a channel that is at other servers only.
	Tail        string  `json:"tail,omitempty"`
	Rate        float64 `json:"rate"`

	ClusterConnections *int `json:"cluster_connections,omitempty"` // Without Config.Cluster none.
}

// mostListed is how many there are in a list at most.
const mostListed = 1000

func (h *Handler) channels(w http.ResponseWriter, r *http.Request) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	list := struct {
		Channels []channelInfo `json:"channels"`
		After    *string       `json:"after,omitempty"` // To go on with.
	}{Channels: []channelInfo{}}
	after := r.FormValue("after")
	if r.Form.Has("after") && after == "" {
		after = "\x00" // Behind the name that is empty, and before all others.
	}
	for _, i := range h.list(r.FormValue("prefix"), after, limit) {
		list.Channels = append(list.Channels, h.infoOf(i))
	}
	if n := len(list.Channels); n == limit {
		list.After = &list.Channels[n-1].Channel
	}
	answer(w, http.StatusOK, list)
}

func (h *Handler) channel(w http.ResponseWriter, r *http.Request) {
	info, ok := h.anywhere(r.PathValue("channel"))
	if !ok {
		fail(w, http.StatusNotFound, "the channel %q has neither connections nor messages", r.PathValue("channel"))
		return
	}
	answer(w, http.StatusOK, h.infoOf(info))
}

func (h *Handler) connections(w http.ResponseWriter, r *http.Request) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	type conn struct {
		ID      string `json:"id"`
		Channel string `json:"channel"`
		Remote  string `json:"remote,omitempty"`
	}
	list := struct {
		Connections []conn `json:"connections"`
	}{Connections: []conn{}}
	for _, c := range h.srv.Connections(r.FormValue("channel"), limit) {
		remote := ""
		if c.Remote.IsValid() {
			remote = c.Remote.String()
		}
		list.Connections = append(list.Connections, conn{c.ID, c.Channel, remote})
	}
	answer(w, http.StatusOK, list)
}

// limitOf is the parameter limit.
func limitOf(w http.ResponseWriter, r *http.Request) (limit int, ok bool) {
	s := r.FormValue("limit")
	if s == "" {
		return mostListed, true
	}
	limit, err := strconv.Atoi(s)
	if err != nil || limit < 1 || limit > mostListed {
		fail(w, http.StatusBadRequest, "limit is %q, want 1 to %d", s, mostListed)
		return 0, false
	}
	return limit, true
}

// statusDisconnected is what a connection is closed with unless the request says otherwise:
// RFC 6455, section 7.4.2, leaves it to applications.
const statusDisconnected = 4000

func (h *Handler) disconnect(w http.ResponseWriter, r *http.Request) {
	status, reason := uint64(statusDisconnected), r.FormValue("reason")
	if s := r.FormValue("status"); s != "" {
		var err error
		if status, err = strconv.ParseUint(s, 10, 16); err != nil || status < 1000 || status > 4999 {
			fail(w, http.StatusBadRequest, "status is %q, want a close code, as %d", s, statusDisconnected)
			return
		}
	}
	if len(reason) > 123 || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		fail(w, http.StatusBadRequest, "want a reason of at most 123 bytes, UTF-8 without control characters")
		return
	}
	if !h.srv.Disconnect(r.PathValue("id"), uint16(status), reason) {
		fail(w, http.StatusNotFound, "there is no connection %q, or it cannot be closed with %d", r.PathValue("id"), status)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
