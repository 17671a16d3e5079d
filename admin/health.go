package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
)

// live answers /livez: 200 while workers and shards make progress.
func (api *API) live(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), api.cfg.Wait)
	defer cancel()
	// A server that shuts down is healthy.
	if err := api.srv.Alive(ctx); err != nil && !errors.Is(err, broadcast.ErrServerClosed) {
		httpjson.Fail(w, httpjson.NotAlive, "connections are not read, or messages are not sent")
		return
	}
	httpjson.Write(w, http.StatusOK, map[string]string{"status": "alive"})
}

// ready answers /readyz: 200 while the server takes new connections and is a full member of its cluster.
func (api *API) ready(w http.ResponseWriter, _ *http.Request) {
	if api.srv.Draining() {
		httpjson.Fail(w, httpjson.Draining, "draining")
		return
	}
	if api.cfg.Ready != nil {
		if err := api.cfg.Ready(); err != nil {
			httpjson.Fail(w, httpjson.NotReady, "%v", err)
			return
		}
	}
	httpjson.Write(w, http.StatusOK, map[string]string{"status": "ready"})
}
