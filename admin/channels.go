package admin

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
)

// channelInfo describes a channel in an answer.
type channelInfo struct {
	Channel     string  `json:"channel"`
	Connections int     `json:"connections"`
	Head        string  `json:"head,omitempty"` // Empty if the channel exists at other servers only.
	Tail        string  `json:"tail,omitempty"`
	Rate        float64 `json:"rate"`

	ClusterConnections *int `json:"cluster_connections,omitempty"` // nil without Config.Cluster.
}

// maxListed is the largest number of entries in a list.
const maxListed = 1000

// channels answers with a page of the list of channels.
func (api *API) channels(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit, ok := limitOf(w, query)
	if !ok {
		return
	}
	list := struct {
		Channels []channelInfo `json:"channels"`
		After    *string       `json:"after,omitempty"` // The value of the parameter after for the next page.
	}{Channels: []channelInfo{}}
	after := query.Get("after")
	if query.Has("after") && after == "" {
		after = "\x00" // After the empty name, and before all others.
	}
	for _, i := range api.list(query.Get("prefix"), after, limit) {
		list.Channels = append(list.Channels, api.infoOf(i))
	}
	if n := len(list.Channels); n == limit {
		list.After = &list.Channels[n-1].Channel
	}
	httpjson.Write(w, http.StatusOK, list)
}

// channel answers with the state of one channel.
func (api *API) channel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("channel")
	if err := broadcast.CheckChannel(name); err != nil {
		httpjson.Fail(w, httpjson.BadChannel, "%s", plain(err))
		return
	}
	info, ok := api.anywhere(name)
	if !ok {
		httpjson.Fail(w, httpjson.NoChannel, "the channel %q has neither connections nor messages", name)
		return
	}
	httpjson.Write(w, http.StatusOK, api.infoOf(info))
}

// limitOf returns the parameter limit. If it is not valid, limitOf answers and returns false.
func limitOf(w http.ResponseWriter, query url.Values) (limit int, ok bool) {
	if !query.Has("limit") {
		return maxListed, true
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > maxListed {
		httpjson.Fail(w, httpjson.BadQuery, "limit is %q, want 1 to %d", query.Get("limit"), maxListed)
		return 0, false
	}
	return limit, true
}
