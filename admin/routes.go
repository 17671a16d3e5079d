package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/crier-ws/crier/internal/httpjson"
)

// route answers the requests with one method and path.
type route struct {
	handle http.HandlerFunc

	// query is the names of the parameters that a request may have: all others are refused. anyQuery is for routes
	// that do not read the query: load balancers and browsers add parameters of their own.
	query    []string
	anyQuery bool
}

// routes returns the routes that every API has, by pattern.
func (api *API) routes() map[string]route {
	traces := api.cfg.TracerProvider
	return map[string]route{
		"GET /{$}":                      {handle: api.page.Page, anyQuery: true},
		"GET /livez":                    {handle: api.live, anyQuery: true},
		"GET /readyz":                   {handle: api.ready, anyQuery: true},
		"GET /v1/openapi.json":          {handle: api.openAPI},
		"GET /v1/live":                  {handle: api.page.Stream, query: []string{"last", "since"}},
		"GET /v1/live/history":          {handle: api.page.History},
		"POST /v1/publish":              {handle: traced(traces, api.publishBatch)},
		"POST /v1/publish/{channel...}": {handle: traced(traces, api.publish)},
		"GET /v1/channels":              {handle: api.channels, query: []string{"prefix", "after", "limit"}},
		"GET /v1/channels/{channel...}": {handle: api.channel},
		"GET /v1/connections":           {handle: api.connections, query: []string{"channel", "address", "after", "limit"}},
		"DELETE /v1/connections":        {handle: api.disconnectAll, query: []string{"channel", "address", "status", "reason"}},
		"DELETE /v1/connections/{id}":   {handle: api.disconnect, query: []string{"status", "reason"}},
	}
}

// addRoutes fills api.mux. Unknown paths and methods are answered with JSON, too.
func (api *API) addRoutes() {
	methods := make(map[string][]string) // By path.
	add := func(pattern string, f http.Handler) {
		api.mux.Handle(pattern, f)
		method, path, _ := strings.Cut(pattern, " ")
		methods[path] = append(methods[path], method)
	}
	for pattern, route := range api.routes() {
		add(pattern, route)
	}
	if api.cfg.Metrics != nil {
		add("GET /metrics", api.cfg.Metrics)
	}
	if api.cfg.Profiles != nil {
		add("GET /debug/pprof/", api.cfg.Profiles)
		add("GET /debug/pprof", http.HandlerFunc(toProfiles))
	}
	for path, allowed := range methods {
		api.mux.HandleFunc(path, notAllowed(allowed))
	}
	api.mux.HandleFunc("/", notFound)
}

// ServeHTTP answers a request if its query is valid and has only parameters of the route. So r.URL.Query in the handler
// omits nothing.
func (rt route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !rt.anyQuery {
		if _, err := httpjson.Query(r.URL, rt.query...); err != nil {
			httpjson.Fail(w, httpjson.BadQuery, "%v", err)
			return
		}
	}
	rt.handle(w, r)
}

// notAllowed returns a handler for requests with methods other than those allowed.
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

// toProfiles redirects to /debug/pprof/ with a body in JSON. http.ServeMux would send HTML.
func toProfiles(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "/debug/pprof/")
	p := httpjson.Problem{Error: "profiles are at /debug/pprof/", Code: httpjson.NotFound}
	httpjson.Write(w, http.StatusMovedPermanently, p)
}

func (api *API) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // An error means that the client has gone.
}
