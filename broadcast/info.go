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
	Head        string  // the id of the newest message, or, before the first, what its id would follow
	Tail        string  // the id of the oldest message that is kept; empty if none is
	Rate        float64 // messages a second lately: in the last ten seconds or, if it has had few, longer
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

// Channels returns the channels whose names begin with prefix and come after another one, at
// most n, sorted by their names. It looks at all there are.
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

// Largest returns at most n channels, those first that have the most connections. It looks at
// all there are, and sorts only those.
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

func (srv *Server) channelInfo(ch *channel) ChannelInfo {
	ch.mu.Lock()
	conns := ch.conns
	ch.mu.Unlock()
	st := ch.plain.log.Stat(10 * time.Second)
	form := ch.plain.form
	info := ChannelInfo{Name: ch.name, Connections: conns, Rate: st.Rate, Head: string(form.appendID(nil, ch.idAt(st.Frames)))}
	if st.First < st.Frames {
		info.Tail = string(form.appendID(nil, ch.idAt(st.First+1)))
	}
	return info
}

// ConnInfo is an open connection.
type ConnInfo struct {
	ID      string // See Conn.ID.
	Channel string
	Remote  netip.AddrPort // See Conn.RemoteAddr.
	Lag     uint64         // Bytes of its channel's messages that its socket did not take yet.
}

// ID names the connection among all that the server has or had: see Server.Disconnect. It
// makes a system call. It may be called from within the hooks only.
func (c *Conn) ID() string {
	srv := c.shard().srv
	// What is known of it anyway, so that no connection has to remember an id.
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

// connInfo is for those in feed.open. Called by c's shard.
func (c *Conn) connInfo() ConnInfo {
	e := c.feed().encoding
	return ConnInfo{c.ID(), e.channel.name, c.RemoteAddr(), e.log.Head() - c.cursor}
}

// Slowest returns at most n open connections whose sockets are full, those first that are
// furthest behind. It waits until all shards come by, and looks at the connections of those
// channels only in which somebody is behind.
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

// furthestBehind is Slowest of one shard, in no order of those that are as far behind.
func (s *shard) furthestBehind(n int) []ConnInfo {
	type behind struct {
		c   *Conn
		lag uint64
	}
	list := make(top[behind], 0, n)
	for f := range s.keptViews {
		head := f.encoding.log.Head()
		odd := f.offFastPath
		for k := 0; k < len(f.open) && odd > 0; k++ {
			c := f.open[k]
			if c.out == 0 {
				continue
			}
			if odd--; c.out&outBlocked != 0 && c.cursor < head {
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

// top is the first of what it was offered, in order, up to its capacity.
type top[T any] []T

// insert puts v to where it belongs, if that is in it.
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

// Disconnect begins to close the open connection with an id, and reports whether there was one. Unless its socket is
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

// disconnect begins to close the open connection with a file descriptor and an id, and reports whether there is one.
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

// eachShard has each shard call f, and waits for that. It returns false if the server has ended.
func (srv *Server) eachShard(f func(i int, s *shard)) bool {
	return srv.awaitShards(context.Background(), f) == nil
}

// awaitShards is eachShard until ctx is done: then shards may call f yet.
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
