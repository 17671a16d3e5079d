package admin

import (
	"cmp"
	"slices"

	"github.com/crier-ws/crier/broadcast"
)

// Cluster knows what other servers have: a *presence.Presence. Its methods are called from any goroutine.
type Cluster interface {
	// Elsewhere is how many connections a channel has at other servers.
	Elsewhere(channel string) int

	// Unlisted is how many connections at other servers are missing in the result of Elsewhere, because their
	// channels are not known.
	Unlisted() int

	// Channels returns the names of the channels with connections at other servers which begin with prefix and come
	// after another one: at most n, sorted.
	Channels(prefix, after string, n int) []string
}

// count is a number of connections, or unknown.
type count int

const unknown count = -1

// IsZero reports whether c is left out of an answer, for encoding/json.
func (c count) IsZero() bool { return c == unknown }

// published is what became of a message.
type published struct {
	ID        string `json:"id"`
	Receivers count  `json:"receivers,omitzero"`
}

// result returns what an answer says of a message that was published to a channel. With a cluster, receivers are those
// of all servers, as far as they have told; they are unknown if none is known of, and some are not listed.
func (h *Handler) result(channel string, p broadcast.Published) published {
	all := count(p.Receivers)
	if c := h.cfg.Cluster; c != nil {
		if all += count(c.Elsewhere(channel)); all == 0 && c.Unlisted() > 0 {
			all = unknown
		}
	}
	return published{p.ID, all}
}

func (h *Handler) infoOf(i broadcast.ChannelInfo) channelInfo {
	info := channelInfo{Channel: i.Name, Connections: i.Connections, Head: i.Head, Tail: i.Tail, Rate: i.Rate}
	if h.cfg.Cluster != nil {
		all := i.Connections + h.cfg.Cluster.Elsewhere(i.Name)
		info.ClusterConnections = &all
	}
	return info
}

// anywhere is the state of a channel, which may be at other servers only: then it has neither a head nor anything else.
func (h *Handler) anywhere(name string) (info broadcast.ChannelInfo, ok bool) {
	info, ok = h.srv.Channel(name)
	if !ok && h.cfg.Cluster != nil && h.cfg.Cluster.Elsewhere(name) > 0 {
		return broadcast.ChannelInfo{Name: name}, true
	}
	return info, ok
}

// list is at most n channels, as of broadcast.Server's Channels, those of other servers among them.
func (h *Handler) list(prefix, after string, n int) []broadcast.ChannelInfo {
	here := h.srv.Channels(prefix, after, n)
	if h.cfg.Cluster == nil {
		return here
	}
	byName := func(a, b broadcast.ChannelInfo) int { return cmp.Compare(a.Name, b.Name) }
	all := slices.Clone(here)
	for _, name := range h.cfg.Cluster.Channels(prefix, after, n) {
		// One that is here, and not among the first n, is behind them in any case.
		if _, ok := slices.BinarySearchFunc(here, broadcast.ChannelInfo{Name: name}, byName); !ok {
			all = append(all, broadcast.ChannelInfo{Name: name})
		}
	}
	slices.SortFunc(all, byName)
	return all[:min(n, len(all))]
}
