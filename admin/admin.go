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

// Config configures an API. The zero value is ready to use, but publishes only empty messages: see MaxMessageBytes.
type Config struct {
	// Token is the token that requests must bear (RFC 6750, section 2.1). If it is empty, requests need none. The
	// probes /livez and /readyz never need one, nor does the page at /, which asks its user for the token.
	Token string

	// MaxMessageBytes is the limit for the body of a single message: that of the server.
	MaxMessageBytes int

	// MaxBatchBytes is the limit for the body of a batch. Defaults to the larger of 4 MiB and 1.5 times
	// MaxMessageBytes.
	MaxBatchBytes int

	// Metrics, if not nil, answers GET /metrics.
	Metrics http.Handler

	// TracerProvider, if not nil, gets a span of each request that publishes. The span is a child of the span that
	// the header traceparent names (W3C Trace Context).
	TracerProvider trace.TracerProvider

	// Cluster, if not nil, knows the connections at other servers.
	Cluster Cluster

	// Ready, if not nil, returns nil if the server is ready, or else the reason, which /readyz answers. It must not
	// block, and be safe for concurrent use.
	Ready func() error

	// Profiles, if not nil, answers GET /debug/pprof/ and the paths below.
	Profiles http.Handler

	// Live configures the page.
	Live live.Config

	// Wait is how long a request to publish may wait while the server is behind, before it is answered 503, and how
	// long /livez waits for the workers and shards. Defaults to 5 s.
	Wait time.Duration
}

// API is an http.Handler that answers the requests of back ends. It is safe for concurrent use.
type API struct {
	// Immutable after construction.
	srv   *broadcast.Server
	cfg   Config
	token [sha256.Size]byte // the hash of Config.Token
	mux   *http.ServeMux
	page  *live.Live

	once  once          // synchronizes itself
	slots chan struct{} // holds one value for each body that is being read or published
	batch chan struct{} // holds a value while a batch is published: a batch may exceed the retention
	walks chan struct{} // holds a value while a request looks at all connections, which may be very many
}

// bodies is how many bodies are in memory at a time.
const bodies = 4

// MemoryBytes returns an upper bound on the memory of an API, in bytes, without that of net/http.
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

// New returns an API for a server. The caller must call Close to release it.
func New(srv *broadcast.Server, cfg Config) *API {
	cfg = cfg.withDefaults()
	api := &API{
		srv: srv, cfg: cfg, token: sha256.Sum256([]byte(cfg.Token)), mux: http.NewServeMux(),
		page:  live.New(srv, cfg.Live),
		slots: make(chan struct{}, bodies), batch: make(chan struct{}, 1), walks: make(chan struct{}, 1),
	}
	api.addRoutes()
	return api
}

// Close ends the streams of all open pages, refuses further ones, and waits up to a second for the pages to leave.
func (api *API) Close() { api.page.Close() }

// ServeHTTP answers a request. All errors are answered with an httpjson.Problem.
func (api *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	public := r.URL.Path == "/livez" || r.URL.Path == "/readyz" || r.URL.Path == "/"
	if api.cfg.Token != "" && !public && !api.authorized(r) {
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
	api.mux.ServeHTTP(w, r)
}

// isAmbiguous reports whether some programs would rewrite a path, as http.ServeMux does.
func isAmbiguous(path string) bool {
	return strings.Contains(path, "//") ||
		strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../")
}

// authorized reports whether a request bears the token. It compares hashes, so that the time that it takes reveals
// neither the token nor its length.
func (api *API) authorized(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], api.token[:]) == 1
}
