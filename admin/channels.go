package admin

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
)

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
	query := r.URL.Query()
	limit, ok := limitOf(w, query)
	if !ok {
		return
	}
	list := struct {
		Channels []channelInfo `json:"channels"`
		After    *string       `json:"after,omitempty"` // To go on with.
	}{Channels: []channelInfo{}}
	after := query.Get("after")
	if query.Has("after") && after == "" {
		after = "\x00" // After the name that is empty, and before all others.
	}
	for _, i := range h.list(query.Get("prefix"), after, limit) {
		list.Channels = append(list.Channels, h.infoOf(i))
	}
	if n := len(list.Channels); n == limit {
		list.After = &list.Channels[n-1].Channel
	}
	httpjson.Write(w, http.StatusOK, list)
}

func (h *Handler) channel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("channel")
	if err := broadcast.CheckChannel(name); err != nil {
		httpjson.Fail(w, httpjson.BadChannel, "%s", plain(err))
		return
	}
	info, ok := h.anywhere(name)
	if !ok {
		httpjson.Fail(w, httpjson.NoChannel, "the channel %q has neither connections nor messages", name)
		return
	}
	httpjson.Write(w, http.StatusOK, h.infoOf(info))
}

// limitOf returns the parameter limit, or answers that it is wrong.
func limitOf(w http.ResponseWriter, query url.Values) (limit int, ok bool) {
	if !query.Has("limit") {
		return mostListed, true
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > mostListed {
		httpjson.Fail(w, httpjson.BadQuery, "limit is %q, want 1 to %d", query.Get("limit"), mostListed)
		return 0, false
	}
	return limit, true
}
