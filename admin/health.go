package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
)

func (h *Handler) live(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Wait)
	defer cancel()
	if err := h.srv.Alive(ctx); err != nil && !errors.Is(err, broadcast.ErrServerClosed) { // Its end is no illness.
		httpjson.Fail(w, httpjson.NotAlive, "connections are not read, or messages are not sent")
		return
	}
	httpjson.Write(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	if h.srv.Draining() {
		httpjson.Fail(w, httpjson.Draining, "draining")
		return
	}
	if h.cfg.Ready != nil {
		if err := h.cfg.Ready(); err != nil {
			httpjson.Fail(w, httpjson.NotReady, "%v", err)
			return
		}
	}
	httpjson.Write(w, http.StatusOK, map[string]string{"status": "ready"})
}
