package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/crier-ws/crier/internal/httpjson"
)

// route is what answers the requests of a method to a path.
type route struct {
	handle http.HandlerFunc

	// query is the names of the parameters that a request may have: all others are refused. anyQuery is for routes
	// that do not read the query: load balancers and browsers add parameters of their own.
	query    []string
	anyQuery bool
}

// routes returns them by their patterns, those that every Handler has.
func (h *Handler) routes() map[string]route {
	traces := h.cfg.TracerProvider
	return map[string]route{
		"GET /{$}":                      {handle: h.page.Page, anyQuery: true},
		"GET /livez":                    {handle: h.live, anyQuery: true},
		"GET /readyz":                   {handle: h.ready, anyQuery: true},
		"GET /v1/openapi.json":          {handle: h.openAPI},
		"GET /v1/live":                  {handle: h.page.Stream, query: []string{"last", "since"}},
		"GET /v1/live/history":          {handle: h.page.History},
		"POST /v1/publish":              {handle: traced(traces, h.publishBatch)},
		"POST /v1/publish/{channel...}": {handle: traced(traces, h.publish)},
		"GET /v1/channels":              {handle: h.channels, query: []string{"prefix", "after", "limit"}},
		"GET /v1/channels/{channel...}": {handle: h.channel},
		"GET /v1/connections":           {handle: h.connections, query: []string{"channel", "address", "after", "limit"}},
		"DELETE /v1/connections":        {handle: h.disconnectAll, query: []string{"channel", "address", "status", "reason"}},
		"DELETE /v1/connections/{id}":   {handle: h.disconnect, query: []string{"status", "reason"}},
	}
}

// addRoutes fills h.mux. Paths and methods that no route has are answered with JSON, too.
func (h *Handler) addRoutes() {
	methods := make(map[string][]string) // By path.
	add := func(pattern string, f http.Handler) {
		h.mux.Handle(pattern, f)
		method, path, _ := strings.Cut(pattern, " ")
		methods[path] = append(methods[path], method)
	}
	for pattern, route := range h.routes() {
		add(pattern, route)
	}
	if h.cfg.Metrics != nil {
		add("GET /metrics", h.cfg.Metrics)
	}
	if h.cfg.Profiles != nil {
		add("GET /debug/pprof/", h.cfg.Profiles)
		add("GET /debug/pprof", http.HandlerFunc(toProfiles))
	}
	for path, allowed := range methods {
		h.mux.HandleFunc(path, notAllowed(allowed))
	}
	h.mux.HandleFunc("/", notFound)
}

// ServeHTTP answers a request whose query is one that the route takes: in the handler, r.URL.Query leaves nothing out.
func (rt route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !rt.anyQuery {
		if _, err := httpjson.Query(r.URL, rt.query...); err != nil {
			httpjson.Fail(w, httpjson.BadQuery, "%v", err)
			return
		}
	}
	rt.handle(w, r)
}

// notAllowed answers requests of other methods than those allowed.
func notAllowed(allowed []string) http.HandlerFunc {
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	list := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", list)
		httpjson.Fail(w, httpjson.MethodNotAllowed, "%s is not allowed for %s: want %s", r.Method, r.URL.Path, list)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	httpjson.Fail(w, httpjson.NotFound, "no such path: %s; /v1/openapi.json lists all paths", r.URL.Path)
}

// toProfiles sends to where the profiles are. http.ServeMux would do so with a page in HTML.
func toProfiles(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "/debug/pprof/")
	p := httpjson.Problem{Error: "profiles are at /debug/pprof/", Code: httpjson.NotFound}
	httpjson.Write(w, http.StatusMovedPermanently, p)
}

func (h *Handler) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // An error means that the client has gone.
}
