package admin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
)

// connInfo describes an open connection of this server in an answer.
type connInfo struct {
	ID      string `json:"id"`
	Channel string `json:"channel"`
	Remote  string `json:"remote,omitempty"`
}

// connections answers with a page of the list of connections.
func (api *API) connections(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit, ok := limitOf(w, query)
	if !ok {
		return
	}
	filter, err := filterOf(query)
	if err != nil {
		failQuery(w, err)
		return
	}
	if query.Has("after") && query.Get("after") == "" {
		failQuery(w, broadcast.ErrAfter)
		return
	}
	list := struct {
		Connections []connInfo `json:"connections"`
		After       string     `json:"after,omitempty"` // The value of the parameter after for the next page.
	}{Connections: []connInfo{}}
	var page []broadcast.ConnInfo
	ok = api.walk(w, r, func(ctx context.Context) (err error) {
		page, list.After, err = api.srv.FindConnections(ctx, filter, query.Get("after"), limit)
		return err
	})
	if !ok {
		return
	}
	for _, c := range page {
		info := connInfo{ID: c.ID, Channel: c.Channel}
		if c.Remote.IsValid() {
			info.Remote = c.Remote.String()
		}
		list.Connections = append(list.Connections, info)
	}
	httpjson.Write(w, http.StatusOK, list)
}

// walkTime is how long a walk may take. To close a million connections takes about 10 s.
const walkTime = 40 * time.Second

// walk calls f, which looks at all connections; one request at a time does so. If the time runs out or f returns an
// error, walk answers and returns false.
func (api *API) walk(w http.ResponseWriter, r *http.Request, f func(context.Context) error) (ok bool) {
	waiting, cancel := context.WithTimeout(r.Context(), api.cfg.Wait)
	defer cancel()
	select {
	case api.walks <- struct{}{}:
		defer func() { <-api.walks }()
	case <-waiting.Done():
		httpjson.Fail(w, httpjson.Behind, "another request is looking at all connections")
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), walkTime)
	defer cancel()
	err := f(ctx)
	switch {
	case err == nil:
		return true
	case errors.Is(err, broadcast.ErrAfter):
		failQuery(w, err)
	case errors.Is(err, broadcast.ErrServerClosed):
		httpjson.Fail(w, httpjson.Draining, "the server is shut down")
	default:
		httpjson.Fail(w, httpjson.Behind, "there was no time to look at all connections")
	}
	return false
}

// failQuery answers that a parameter is not valid.
func failQuery(w http.ResponseWriter, err error) {
	text := plain(err)
	if errors.Is(err, broadcast.ErrAfter) {
		text = "after is not valid: want the value of after in an earlier answer"
	}
	httpjson.Fail(w, httpjson.BadQuery, "%s", text)
}

// filterOf returns the connections that a query selects.
func filterOf(query url.Values) (f broadcast.ConnFilter, err error) {
	if query.Has("channel") {
		if err := broadcast.CheckChannel(query.Get("channel")); err != nil {
			return f, err
		}
		f.Channel = new(query.Get("channel"))
	}
	if query.Has("address") {
		f.Network, err = parseNetwork(query.Get("address"))
	}
	return f, err
}

var errNetwork = errors.New("address is not an IP address or a network: " +
	"want a value like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")

// parseNetwork parses an address or a network. IPv4-mapped IPv6 addresses become IPv4.
func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, errNetwork
	case p.Addr().Is4In6() && p.Bits() < 96:
		return p, errNetwork
	case p.Addr().Is4In6():
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// statusDisconnected is the default close code. RFC 6455, section 7.4.2, leaves codes from 4000 on to applications.
const statusDisconnected = 4000

// closeOf returns the status and the reason of a query for a close frame. If a close frame cannot have them, closeOf
// answers and returns false.
func closeOf(w http.ResponseWriter, query url.Values) (status uint16, reason string, ok bool) {
	status, reason = statusDisconnected, query.Get("reason")
	if query.Has("status") {
		n, err := strconv.ParseUint(query.Get("status"), 10, 16)
		if err != nil {
			httpjson.Fail(w, httpjson.BadQuery, "status is %q, want a close code such as %d",
				query.Get("status"), statusDisconnected)
			return 0, "", false
		}
		status = uint16(n)
	}
	if err := broadcast.CheckClose(status, reason); err != nil {
		failQuery(w, err)
		return 0, "", false
	}
	return status, reason, true
}

// disconnect closes one connection.
func (api *API) disconnect(w http.ResponseWriter, r *http.Request) {
	status, reason, ok := closeOf(w, r.URL.Query())
	if !ok {
		return
	}
	if !api.srv.Disconnect(r.PathValue("id"), status, reason) {
		httpjson.Fail(w, httpjson.NoConnection, "there is no open connection %q", r.PathValue("id"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// disconnectAll closes the connections of a channel, of a network, or of both.
func (api *API) disconnectAll(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	status, reason, ok := closeOf(w, query)
	if !ok {
		return
	}
	filter, err := filterOf(query)
	if err == nil && !query.Has("channel") && !query.Has("address") {
		// A drain closes all connections.
		err = errors.New("no connections are selected: want channel or address, or both")
	}
	if err != nil {
		failQuery(w, err)
		return
	}
	var n int
	ok = api.walk(w, r, func(ctx context.Context) (err error) {
		n, err = api.srv.DisconnectAll(ctx, filter, status, reason)
		return err
	})
	if ok {
		httpjson.Write(w, http.StatusOK, map[string]int{"closed": n})
	}
}
