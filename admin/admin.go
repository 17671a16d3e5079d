// Package admin is what a back end needs of a broadcast server, over HTTP: to
// publish, to see channels and connections, and to close one. A page for people shows the server
// at work. It is a handler for a listener of its own, which must not be the public one.
// openapi.json describes it.
//
//	admin.go         what a handler is made with, and who may ask
//	routes.go        which request goes where, and which parameters it may have
//	health.go        the probes
//	publish.go       publishing a message; batch.go: many; once.go: each once
//	channels.go      channels; connections.go: connections, and closing them
//	cluster.go       what other servers have
//	trace.go         spans of what is published
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"net/http"
	"strings"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
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
	walks chan struct{} // Held by the request that looks at all connections: there may be very many.
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
		slots: make(chan struct{}, bodies), batch: make(chan struct{}, 1), walks: make(chan struct{}, 1),
	}
	h.addRoutes()
	return h
}

// Close ends the streams of those who have the page open, and refuses more.
func (h *Handler) Close() { h.page.Close() }

// ServeHTTP answers a request. What the answers to errors have in common is in httpjson.Problem.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	open := r.URL.Path == "/livez" || r.URL.Path == "/readyz" || r.URL.Path == "/"
	if h.cfg.Token != "" && !open && !h.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="crier"`)
		httpjson.Fail(w, httpjson.Unauthorized, "want the header Authorization: Bearer TOKEN")
		return
	}
	switch path := r.URL.EscapedPath(); {
	case !strings.HasPrefix(path, "/"):
		httpjson.Fail(w, httpjson.BadPath, "the path is %q, want one that starts with /", path)
		return
	case isAmbiguous(path):
		httpjson.Fail(w, httpjson.BadPath,
			"the path %q is ambiguous: write %%2F for the slashes of a channel's name, and %%2E for dots", path)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// isAmbiguous reports whether some programs would change a path, as http.ServeMux does.
func isAmbiguous(path string) bool {
	return strings.Contains(path, "//") ||
		strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../")
}

// authorized compares hashes, so that neither what is right nor how long it is takes a time of its own.
func (h *Handler) authorized(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], h.token[:]) == 1
}
