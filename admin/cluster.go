package admin

import (
	"cmp"
	"slices"

	"github.com/crier-ws/crier/broadcast"
)

// Cluster knows the connections at other servers; *presence.Presence implements it. Its methods must be safe for
// concurrent use and must not block.
type Cluster interface {
	// Elsewhere returns how many connections of a channel the other servers have.
	Elsewhere(channel string) int

	// Unlisted returns how many connections of other servers Elsewhere does not count, because their channels are
	// unknown.
	Unlisted() int

	// Channels returns the names of channels with connections at other servers: at most n, sorted, of those that
	// begin with prefix and are greater than after.
	Channels(prefix, after string, n int) []string
}

// count is a number of connections, 0 or more, or unknown.
type count int

const unknown count = -1

// IsZero reports whether c is left out of an answer, for encoding/json.
func (c count) IsZero() bool { return c == unknown }

// published is the answer for one message.
type published struct {
	ID        string `json:"id"`
	Receivers count  `json:"receivers,omitzero"`
}

// result returns the answer for a message that was published to a channel. In a cluster it counts the receivers at all
// servers that this server knows of. The count is unknown if it is 0 and there are unlisted connections.
func (api *API) result(channel string, p broadcast.Published) published {
	all := count(p.Receivers)
	if c := api.cfg.Cluster; c != nil {
		if all += count(c.Elsewhere(channel)); all == 0 && c.Unlisted() > 0 {
			all = unknown
		}
	}
	return published{p.ID, all}
}

// infoOf returns the answer for a channel.
func (api *API) infoOf(i broadcast.ChannelInfo) channelInfo {
	info := channelInfo{Channel: i.Name, Connections: i.Connections, Head: i.Head, Tail: i.Tail, Rate: i.Rate}
	if api.cfg.Cluster != nil {
		all := i.Connections + api.cfg.Cluster.Elsewhere(i.Name)
		info.ClusterConnections = &all
	}
	return info
}

// anywhere returns the state of a channel. A channel that exists at other servers only has just a name.
func (api *API) anywhere(name string) (info broadcast.ChannelInfo, ok bool) {
	info, ok = api.srv.Channel(name)
	if !ok && api.cfg.Cluster != nil && api.cfg.Cluster.Elsewhere(name) > 0 {
		return broadcast.ChannelInfo{Name: name}, true
	}
	return info, ok
}

// list returns at most n channels, as broadcast.Server.Channels does, including those of other servers.
func (api *API) list(prefix, after string, n int) []broadcast.ChannelInfo {
	here := api.srv.Channels(prefix, after, n)
	if api.cfg.Cluster == nil {
		return here
	}
	byName := func(a, b broadcast.ChannelInfo) int { return cmp.Compare(a.Name, b.Name) }
	all := slices.Clone(here)
	for _, name := range api.cfg.Cluster.Channels(prefix, after, n) {
		// A channel that exists here but is not in this page sorts after the page, and is cut off below.
		if _, ok := slices.BinarySearchFunc(here, broadcast.ChannelInfo{Name: name}, byName); !ok {
			all = append(all, broadcast.ChannelInfo{Name: name})
		}
	}
	slices.SortFunc(all, byName)
	return all[:min(n, len(all))]
}
