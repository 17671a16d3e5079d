package broadcast

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// ConnFilter selects open connections. The zero value selects all of them.
type ConnFilter struct {
	// Channel, if not nil, is the name of the channel that they belong to.
	Channel *string

	// Network, if it is not the zero Prefix, contains their addresses: see Conn.RemoteAddr. Looking at an address takes
	// a system call for each connection.
	Network netip.Prefix
}

func (f *ConnFilter) selects(c *Conn) bool {
	return !f.Network.IsValid() || f.Network.Contains(c.RemoteAddr().Addr())
}

// Errors of FindConnections, DisconnectAll and Conn.Close.
var (
	// ErrAfter: the argument after of FindConnections is not a value that FindConnections has returned.
	ErrAfter = errors.New("broadcast: after is not the next of an earlier page")
	// ErrClose: no close frame can contain this status or this reason.
	ErrClose = errors.New("broadcast: a close frame cannot contain this")
)

// FindConnections returns a page of the open connections that f selects: at most n, in the order of their file
// descriptors. For the first page, after is ""; for the following page, after is next. next is empty if this page is
// the last one; a page may be short, or even empty, without being the last. A connection that stays open is on
// exactly one page. Connections that open or close meanwhile may be missing.
//
// Each page looks at all connections that f may select: at a million, this takes each shard some 10 ms, or a second
// with f.Network. Every 10 ms shards do their other work. The error is ErrAfter, ErrServerClosed, or that of ctx.
func (srv *Server) FindConnections(
	ctx context.Context, f ConnFilter, after string, n int,
) (page []ConnInfo, next string, err error) {
	above := int64(-1)
	if after != "" {
		digits, _, _ := strings.Cut(after, "-") // It may be a connection's ID.
		if above, err = strconv.ParseInt(digits, 10, 32); err != nil || above < 0 {
			return nil, "", ErrAfter
		}
	}
	if n <= 0 {
		return nil, after, nil
	}
	pages, walks := make([]lowest, len(srv.shards)), make([]*walk, len(srv.shards))
	for i, s := range srv.shards {
		p := &pages[i]
		p.n, p.above, p.most = n, int32(above), math.MaxInt32
		walks[i] = s.newWalk(f)
		walks[i].visit = p.collect
	}
	if err := srv.walkAll(ctx, walks); err != nil {
		return nil, "", err
	}
	found := make([][]numbered, len(pages))
	if err := srv.awaitShards(ctx, func(i int, _ *shard) { found[i] = pages[i].infos() }); err != nil {
		return nil, "", err
	}
	return merge(pages, found, n)
}

// numbered is a connection with its file descriptor.
type numbered struct {
	fd   int32
	info ConnInfo
}

// merge makes one page of the pages of all shards.
func merge(pages []lowest, found [][]numbered, n int) (page []ConnInfo, next string, err error) {
	// The greatest descriptor up to which the pages of all shards are complete.
	upTo := int32(math.MaxInt32)
	for i := range pages {
		upTo = min(upTo, pages[i].most)
	}
	all := slices.DeleteFunc(slices.Concat(found...), func(c numbered) bool { return c.fd > upTo })
	slices.SortFunc(all, func(a, b numbered) int { return cmp.Compare(a.fd, b.fd) })
	if len(all) > n {
		all = all[:n]
		upTo = all[n-1].fd
	}
	for _, c := range all {
		page = append(page, c.info)
	}
	if upTo < math.MaxInt32 {
		next = strconv.Itoa(int(upTo))
	}
	return page, next, nil
}

// lowest collects the connections of a shard that have the lowest file descriptors.
type lowest struct {
	n     int     // How many of them.
	above int32   // Only those with greater descriptors.
	conns []*Conn // Fewer than 2n.
	most  int32   // The greatest descriptor of the n lowest so far, or the greatest int32 if there were no more than n.
}

// collect adds c if it may be one of the n lowest.
func (l *lowest) collect(c *Conn) {
	if c.fd <= l.above || l.most < math.MaxInt32 && c.fd >= l.most {
		return
	}
	if l.conns = append(l.conns, c); len(l.conns)/2 >= l.n {
		l.cut()
	}
}

// cut drops all but the n lowest.
func (l *lowest) cut() {
	slices.SortFunc(l.conns, func(a, b *Conn) int { return cmp.Compare(a.fd, b.fd) })
	l.conns = slices.Compact(l.conns) // A walk may visit a connection twice.
	if len(l.conns) > l.n {
		clear(l.conns[l.n:])
		l.conns = l.conns[:l.n]
		l.most = l.conns[l.n-1].fd
	}
}

// infos describes the collected connections that are still open. Called by their shard.
func (l *lowest) infos() (infos []numbered) {
	l.cut()
	for _, c := range l.conns {
		if c.phase == phaseOpen {
			infos = append(infos, numbered{c.fd, c.connInfo()})
		}
	}
	return infos
}

// DisconnectAll begins to close all open connections that f selects, each as Disconnect does, and returns their
// number. Connections that open meanwhile may stay open.
//
// DisconnectAll returns when all close frames are on their way. At a million connections, this takes seconds; every 10
// ms, shards do their other work. The error is an ErrClose, ErrServerClosed, or that of ctx; with the latter two, n
// connections have been closed, and a few more may be.
func (srv *Server) DisconnectAll(
	ctx context.Context, f ConnFilter, status uint16, reason string,
) (n int, err error) {
	if err := CheckClose(status, reason); err != nil {
		return 0, err
	}
	var closed atomic.Int64
	frame := appendClose(nil, ws.StatusCode(status), reason)
	walks := make([]*walk, len(srv.shards))
	for i, s := range srv.shards {
		walks[i] = s.newWalk(f)
		walks[i].arrive = s.catchUp
		walks[i].visit = func(c *Conn) {
			c.set(mute)
			s.startClose(c, frame, ReasonDisconnected)
			closed.Add(1)
		}
	}
	err = srv.walkAll(ctx, walks)
	return int(closed.Load()), err
}

// catchUp brings a feed's connections to the head of its log, and handles what was posted about them.
func (s *shard) catchUp(f *feed) {
	switch {
	case f.offered != f.encoding.log.Head():
		s.runPasses(dueFeed{feed: f})
	case s.inbox.hasPosts.Load():
		s.readInbox()
	}
}

// CheckClose returns nil if a close frame can contain the status and the reason; otherwise its error wraps ErrClose and
// describes what is wrong. The status must be one that an endpoint may send: 1000 to 1003, 1007 to 1014, or 3000 to
// 4999 (RFC 6455, section 7.4, and the IANA registry of close codes). The reason must be UTF-8 without control
// characters, at most 123 bytes long. It may be empty.
func CheckClose(status uint16, reason string) error {
	switch {
	case !validStatus(status):
		return fmt.Errorf("%w: the status is %d, want 1000 to 1003, 1007 to 1014 or 3000 to 4999", ErrClose, status)
	case len(reason) > maxCloseReason:
		return fmt.Errorf("%w: the reason is %d bytes long, want at most %d", ErrClose, len(reason), maxCloseReason)
	case !utf8.ValidString(reason):
		return fmt.Errorf("%w: the reason is not valid UTF-8", ErrClose)
	case strings.ContainsFunc(reason, unicode.IsControl):
		return fmt.Errorf("%w: the reason contains a control character", ErrClose)
	}
	return nil
}
