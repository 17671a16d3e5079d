package broadcast

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// channel is a set of connections, and the messages that all of them get. There may be very many channels. A channel
// at rest is this struct, a feed for each shard that has some of the connections, and an entry in a map.
type channel struct {
	name string // Immutable.

	// Guarded by channels.mu.
	users  int32 // How many connections and calls keep the channel from being dropped.
	pinned bool  // StartChannel is one of the users.

	mu      sync.Mutex  // Held while a message is appended to several logs, so that it has the same place in all.
	conns   int         // Guarded by mu: connections that have joined.
	ids     *channelIDs // Guarded by mu; nil without an Order.
	changed bool        // Guarded by mu: its name is in Replica.changes.

	behind atomic.Bool // Written by appendToLogs and caughtUp, read by the reading sides: see holding.

	plain encoding // The first encoding; its next are the others.
}

// channels is a server's channels.
type channels struct {
	mu        sync.Mutex
	byName    map[string]*channel // Guarded by mu.
	lenAtTidy int                 // Guarded by mu: the length of byName when tidy last ran.
	floor     uint64              // Guarded by mu: no message of a dropped channel had an ID above this.

	tidySoon atomic.Bool // Set by any goroutine, cleared by the clock, which then calls tidy.

	tidying sync.Mutex
	stale   map[*encoding]bool // Guarded by tidying: encodings that had no readers when tidy last ran.
}

// enter returns the channel of a name, made if there is none. The channel is not dropped before the caller calls
// leave.
func (srv *Server) enter(name string) *channel {
	chs := &srv.channels
	chs.mu.Lock()
	defer chs.mu.Unlock()
	ch := chs.byName[name]
	if ch == nil {
		ch = &channel{name: name}
		ch.plain.channel, ch.plain.form = ch, srv.forms[0]
		ch.plain.log.Init(&srv.forms[0].log, 0, srv.numbers.Load())
		if srv.cfg.Replication.Order != nil {
			ch.ids = &channelIDs{floor: chs.floor}
		}
		chs.byName[name] = ch
		if len(chs.byName) > 2*chs.lenAtTidy+1024 {
			chs.tidySoon.Store(true)
		}
	}
	ch.users++
	return ch
}

// leave ends the use that enter began.
func (srv *Server) leave(ch *channel) {
	srv.channels.mu.Lock()
	ch.users--
	srv.channels.mu.Unlock()
	srv.dropIfEmpty(ch)
}

// dropIfEmpty drops a channel that has no messages and no users.
func (srv *Server) dropIfEmpty(ch *channel) {
	if !srv.channels.removeEmpty(ch, &srv.numbers) {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := ch.plain.next; e != nil; e = e.next {
		e.log.Clear()
	}
	if ch.ids != nil {
		ch.tidyIDs()
	}
}

// removeEmpty takes out a channel that has no messages and no users, and reports whether it did. A later channel of
// the same name uses no number that this channel has used.
func (chs *channels) removeEmpty(ch *channel, numbers *atomic.Uint64) bool {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	if ch.users > 0 || chs.byName[ch.name] != ch || !ch.plain.log.Empty() {
		return false
	}
	delete(chs.byName, ch.name)
	if ch.ids != nil {
		chs.floor = max(chs.floor, ch.idAt(ch.plain.log.Frames()))
	}
	numbers.Store(max(numbers.Load(), ch.plain.log.Frames()))
	return true
}

// len returns the number of channels.
func (chs *channels) len() int {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	return len(chs.byName)
}

// all returns all channels, in no order.
func (chs *channels) all() []*channel {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	return slices.AppendSeq(make([]*channel, 0, len(chs.byName)), maps.Values(chs.byName))
}

// tidy drops old messages, and channels and encodings that are not used.
func (srv *Server) tidy() {
	srv.channels.tidying.Lock()
	defer srv.channels.tidying.Unlock()
	space := srv.forms[0].log.Space
	space.Trim()
	space.Expire()
	stale := make(map[*encoding]bool)
	for _, ch := range srv.channels.all() {
		ch.mu.Lock()
		ch.tidy(srv.channels.stale, stale)
		ch.mu.Unlock()
		srv.dropIfEmpty(ch)
	}
	srv.channels.stale = stale
	srv.channels.mu.Lock()
	srv.channels.lenAtTidy = len(srv.channels.byName)
	srv.channels.mu.Unlock()
}

// tidy drops encodings that have no readers and had none when tidy last ran: those in was. It adds the other
// encodings without readers to now. They are kept until the next call because readers often return, and filling a new
// encoding takes long. The mutex must be held.
func (ch *channel) tidy(was, now map[*encoding]bool) {
	if ch.ids != nil {
		ch.tidyIDs()
	}
	for at := &ch.plain.next; *at != nil; {
		e := *at
		if e.feeds == nil && was[e] {
			*at = e.next
			e.log.Clear()
			continue
		}
		if e.feeds == nil {
			now[e] = true
		}
		at = &e.next
	}
}

// spreadFrom is how many connections of a channel go to one shard before other shards get some, so that publishing in
// one of many small channels wakes one shard only.
const spreadFrom = 64

// join makes c, which has not been open yet, a receiver of a channel in a form, from a position on. part undoes it.
// at and gap are those of receiver.placeCursor; id is the ID of the last message before the position.
func (srv *Server) join(c *Conn, name string, form *form, p position) (at, id uint64, gap string) {
	ch := srv.enter(name)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	s := c.shard()
	if f := ch.anyFeed(); f != nil && srv.cfg.Channels && ch.conns < spreadFrom {
		s = f.shard
	}
	f := ch.encoding(form, srv.history(form)).feedFor(s)
	f.conns++
	ch.conns++
	srv.replica.changes.record(ch)
	srv.total.kinds[form.kind].Add(1)
	c.feedRef.Store(f)
	at, gap = c.placeCursor(p)
	return at, ch.ids.at(at), gap
}

// part undoes join, except for the use of the channel: see Conn.release. Called by c's shard.
func (srv *Server) part(c *Conn) {
	f := c.feed()
	ch := f.encoding.channel
	ch.mu.Lock()
	ch.conns--
	srv.replica.changes.record(ch)
	srv.total.kinds[f.encoding.form.kind].Add(-1)
	if f.conns--; f.conns == 0 {
		f.encoding.removeFeed(f)
		f.shard.removeFeed(f)
	}
	ch.mu.Unlock()
}

// history returns how many bytes of history the log of a form gets when its first reader joins: 0 if clients of the
// form cannot ask for history. The limit keeps one client that uses all forms from pushing out the messages of other
// channels.
func (srv *Server) history(form *form) uint64 {
	switch {
	case srv.cfg.Channels:
		return uint64(min(srv.cfg.RetainBytes, max(minRetain, srv.cfg.RetainTotalBytes/32)))
	case form.kind != formPlain:
		return uint64(srv.cfg.RetainBytes)
	}
	return 0
}

// encoding returns the channel's encoding of a form. If there is none, it is made, with at most history bytes of the
// plain encoding's messages. The mutex must be held.
func (ch *channel) encoding(form *form, history uint64) *encoding {
	at := &ch.plain.next
	if ch.plain.form == form {
		return &ch.plain
	}
	for *at != nil && (*at).form != form {
		at = &(*at).next
	}
	if *at == nil {
		e := &encoding{channel: ch, form: form}
		if e.log.Init(&form.log, 0, ch.plain.log.Frames()); history > 0 {
			e.backfill(history)
		}
		*at = e
	}
	return *at
}

// anyFeed returns one of the channel's feeds, or nil if there are none. The mutex must be held.
func (ch *channel) anyFeed() *feed {
	for e := &ch.plain; e != nil; e = e.next {
		if e.feeds != nil {
			return e.feeds
		}
	}
	return nil
}

// wake makes the shards that have connections of the channel write its new messages. at is when the first of them was
// published, after Server.started. Any goroutine may call wake, and it does not block.
func (ch *channel) wake(at time.Duration) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		for f := e.feeds; f != nil; f = f.next {
			f.shard.inbox.putDue(f, at)
			f.shard.wakeUp()
		}
	}
}

// lag returns how far the slowest shard is behind the head, in bytes, in the log where it is furthest behind.
func (ch *channel) lag() (lag uint64) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		lag = max(lag, e.log.Lag())
	}
	return lag
}
