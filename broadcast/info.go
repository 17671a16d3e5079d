package broadcast

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// ChannelInfo is the state of a channel at one moment.
type ChannelInfo struct {
	Name        string
	Connections int
	Head        string  // the ID of the newest message; before the first one, the ID of the place before it
	Tail        string  // the ID of the oldest message that is kept; empty if none is kept
	Rate        float64 // messages a second over the last ten seconds, or over a longer time if there were few
}

// Channel returns a channel's state, and reports whether there is a channel of that name: one with connections or
// messages.
func (srv *Server) Channel(name string) (ChannelInfo, bool) {
	ch := srv.channel(name)
	if ch == nil {
		return ChannelInfo{}, false
	}
	return srv.channelInfo(ch), true
}

// Channels returns at most n channels whose names begin with prefix and come after the name after, sorted by name. It
// looks at all channels.
func (srv *Server) Channels(prefix, after string, n int) []ChannelInfo {
	all := slices.DeleteFunc(srv.channels.all(), func(ch *channel) bool {
		return !strings.HasPrefix(ch.name, prefix) || after != "" && ch.name <= after
	})
	slices.SortFunc(all, func(a, b *channel) int { return cmp.Compare(a.name, b.name) })
	infos := make([]ChannelInfo, 0, min(n, len(all)))
	for _, ch := range all[:min(n, len(all))] {
		infos = append(infos, srv.channelInfo(ch))
	}
	return infos
}

// Largest returns the at most n channels that have the most connections, the largest first. It looks at all channels,
// but sorts only n.
func (srv *Server) Largest(n int) []ChannelInfo {
	type sized struct {
		ch    *channel
		conns int
	}
	list := make(top[sized], 0, n)
	for _, ch := range srv.channels.all() {
		ch.mu.Lock()
		conns := ch.conns
		ch.mu.Unlock()
		list.insert(sized{ch, conns}, func(a, b sized) bool {
			return a.conns > b.conns || a.conns == b.conns && a.ch.name < b.ch.name
		})
	}
	infos := make([]ChannelInfo, len(list))
	for i, s := range list {
		infos[i] = srv.channelInfo(s.ch)
	}
	return infos
}

// channelInfo returns a channel's state.
func (srv *Server) channelInfo(ch *channel) ChannelInfo {
	ch.mu.Lock()
	conns := ch.conns
	ch.mu.Unlock()
	st := ch.plain.log.Stat(10 * time.Second)
	form := ch.plain.form
	head := string(form.appendID(nil, ch.idAt(st.Frames)))
	info := ChannelInfo{Name: ch.name, Connections: conns, Rate: st.Rate, Head: head}
	if st.First < st.Frames {
		info.Tail = string(form.appendID(nil, ch.idAt(st.First+1)))
	}
	return info
}

// ConnInfo describes an open connection.
type ConnInfo struct {
	ID      string // See Conn.ID.
	Channel string
	Remote  netip.AddrPort // See Conn.RemoteAddr.
	Lag     uint64         // Bytes of its channel's messages that its socket has not taken yet.
}

// ID identifies the connection among all that the server has or had: see Server.Disconnect. It makes a system call.
// Only hooks may call it.
func (c *Conn) ID() string {
	srv := c.shard().srv
	// A hash of what is known anyway, so that a connection needs no memory for an ID.
	h := maphash.Comparable(srv.seed, struct {
		c    *Conn
		peer netip.AddrPort
	}{c, c.RemoteAddr()})
	return fmt.Sprintf("%d-%016x", c.fd, h)
}

// Connections returns at most n open connections of a channel: see FindConnections, which returns more of them.
func (srv *Server) Connections(channel string, n int) []ConnInfo {
	page, _, _ := srv.FindConnections(context.Background(), ConnFilter{Channel: &channel}, "", n)
	return page // A server that has ended has none.
}

// connInfo describes c, which must be open. Called by c's shard.
func (c *Conn) connInfo() ConnInfo {
	e := c.feed().encoding
	return ConnInfo{c.ID(), e.channel.name, c.RemoteAddr(), e.log.Head() - c.cursor}
}

// Slowest returns the at most n blocked connections that are furthest behind, the slowest first. It waits until every
// shard has handled the call. It looks only at the connections of channels in which a connection is behind.
func (srv *Server) Slowest(n int) []ConnInfo {
	found := make([][]ConnInfo, len(srv.shards))
	ok := srv.eachShard(func(i int, s *shard) { found[i] = s.furthestBehind(n) })
	if !ok {
		return nil
	}
	all := slices.Concat(found...)
	slices.SortFunc(all, func(a, b ConnInfo) int { return cmp.Or(cmp.Compare(b.Lag, a.Lag), cmp.Compare(a.ID, b.ID)) })
	return all[:min(n, len(all))]
}

// furthestBehind is Slowest for one shard. Connections that are equally far behind are in no order.
func (s *shard) furthestBehind(n int) []ConnInfo {
	type behind struct {
		c   *Conn
		lag uint64
	}
	list := make(top[behind], 0, n)
	for f := range s.keptViews {
		head := f.encoding.log.Head()
		left := f.offFastPath
		for k := 0; k < len(f.open) && left > 0; k++ {
			c := f.open[k]
			if c.out == 0 {
				continue
			}
			if left--; c.out&outBlocked != 0 && c.cursor < head {
				list.insert(behind{c, head - c.cursor}, func(a, b behind) bool { return a.lag > b.lag })
			}
		}
	}
	infos := make([]ConnInfo, len(list))
	for i, b := range list {
		infos[i] = b.c.connInfo()
		infos[i].Lag = b.lag
	}
	return infos
}

// top is the first elements of those inserted, in order, up to its capacity.
type top[T any] []T

// insert puts v in its place, if v is among the first elements.
func (t *top[T]) insert(v T, before func(a, b T) bool) {
	s := *t
	if len(s) == cap(s) {
		if len(s) == 0 || !before(v, s[len(s)-1]) {
			return
		}
		s = s[:len(s)-1]
	}
	i, _ := slices.BinarySearchFunc(s, v, func(e, v T) int {
		if before(v, e) {
			return 1
		}
		return -1
	})
	*t = slices.Insert(s, i, v)
}

// Disconnect begins to close the open connection with an ID, and reports whether there was one. Unless its socket is
// full, the connection first gets what was published to its channel, and sent to it alone, before the call. Messages
// that the connection sends afterwards are not published. status and reason go out in the close frame; if no close
// frame can contain them (see CheckClose), Disconnect returns false. It waits until every shard has handled the call.
func (srv *Server) Disconnect(id string, status uint16, reason string) bool {
	digits, _, _ := strings.Cut(id, "-")
	fd, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || CheckClose(status, reason) != nil {
		return false
	}
	found := make([]bool, len(srv.shards))
	frame := appendClose(nil, ws.StatusCode(status), reason)
	ok := srv.eachShard(func(i int, s *shard) { found[i] = s.disconnect(int32(fd), id, frame) })
	return ok && slices.Contains(found, true)
}

// disconnect begins to close the open connection with a file descriptor and an ID, and reports whether there is one.
// frame is copied.
func (s *shard) disconnect(fd int32, id string, frame []byte) bool {
	c := s.openConn(fd)
	if c == nil || c.ID() != id {
		return false
	}
	s.catchUp(c.feed())
	if c.phase != phaseOpen {
		return false
	}
	c.set(mute)
	s.startClose(c, frame, ReasonDisconnected)
	return true
}

// openConn returns the open connection of s with a file descriptor, or nil.
func (s *shard) openConn(fd int32) *Conn {
	for _, f := range s.feeds {
		for _, c := range f.open {
			if c.fd == fd {
				return c
			}
		}
	}
	return nil
}

// eachShard calls f on the goroutine of each shard, and waits until that is done. It returns false if the server has
// ended.
func (srv *Server) eachShard(f func(i int, s *shard)) bool {
	return srv.awaitShards(context.Background(), f) == nil
}

// awaitShards is eachShard, but stops waiting when ctx is done. Shards may still call f after that.
func (srv *Server) awaitShards(ctx context.Context, f func(i int, s *shard)) error {
	done := make(chan struct{}, len(srv.shards))
	for i, s := range srv.shards {
		s.inbox.putCall(func() {
			f(i, s)
			done <- struct{}{}
		})
		s.wakeUp()
	}
	for range srv.shards {
		select {
		case <-done:
		case <-srv.ended:
			return ErrServerClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Draining reports whether Shutdown has been called.
func (srv *Server) Draining() bool { return srv.draining.Load() }
