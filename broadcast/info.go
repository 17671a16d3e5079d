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
	"unicode"
	"unicode/utf8"

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

// Channel returns a channel's state. It says no if there is none of that name: it has neither
// connections nor messages.
func (srv *Server) Channel(name string) (ChannelInfo, bool) {
	srv.channels.mu.Lock()
	ch := srv.channels.of[name]
	srv.channels.mu.Unlock()
	if ch == nil {
		return ChannelInfo{}, false
	}
	return srv.info(ch), true
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
		infos = append(infos, srv.info(ch))
	}
	return infos
}

func (srv *Server) info(ch *channel) ChannelInfo {
	ch.mu.Lock()
	conns := ch.conns
	ch.mu.Unlock()
	st := ch.plain.log.Stat(10 * time.Second)
	form := ch.plain.form
	info := ChannelInfo{Name: ch.name, Connections: conns, Rate: st.Rate, Head: string(form.appendID(nil, st.Frames))}
	if st.First < st.Frames {
		info.Tail = string(form.appendID(nil, st.First+1))
	}
	return info
}

// ConnInfo is an open connection.
type ConnInfo struct {
	ID      string // See Conn.ID.
	Channel string
	Remote  netip.AddrPort // See Conn.RemoteAddr.
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

// Connections returns at most n open connections of a channel, in no order. It waits until
// all shards come by.
func (srv *Server) Connections(channel string, n int) []ConnInfo {
	found := make([][]ConnInfo, len(srv.shards))
	ok := srv.eachShard(func(i int, s *shard) {
		for _, f := range s.feeds {
			if f.encoding.channel.name != channel {
				continue
			}
			for _, c := range f.open {
				if len(found[i]) == n {
					return
				}
				found[i] = append(found[i], ConnInfo{c.ID(), channel, c.RemoteAddr()})
			}
		}
	})
	if !ok {
		return nil
	}
	all := slices.Concat(found...)
	return all[:min(n, len(all))]
}

// Disconnect begins to close the open connection of an id, of whose messages none is published any more, with a status of RFC 6455, section
// 7.4, and a reason: UTF-8 without control characters, at most 123 bytes. It says no if there is none. It waits until all shards
// come by.
func (srv *Server) Disconnect(id string, status uint16, reason string) bool {
	digits, _, _ := strings.Cut(id, "-")
	fd, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || !validStatus(status) || len(reason) > 123 || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return false
	}
	found := make([]bool, len(srv.shards))
	frame := appendClose(nil, ws.StatusCode(status), reason)
	ok := srv.eachShard(func(i int, s *shard) {
		for _, f := range s.feeds {
			for _, c := range f.open {
				if int64(c.fd) == fd {
					if c.ID() == id {
						c.set(mute)
						s.startClose(c, frame, ReasonDisconnected)
						found[i] = true
					}
					return
				}
			}
		}
	})
	return ok && slices.Contains(found, true)
}

// eachShard has each shard call f, and waits for that. It says no if the server has ended.
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

// Draining says whether Shutdown has been called.
func (srv *Server) Draining() bool { return srv.draining.Load() }
