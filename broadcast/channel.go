package broadcast

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// channel is some connections, and the messages that all of them get. There may be
// very many: one that is at rest is this, a feed for each shard that has some of the
// connections, and an entry in a map.
type channel struct {
	name string // Immutable.

	users  int32 // Guarded by channels.mu: what keeps it from being dropped, connections among it.
	pinned bool  // Guarded by channels.mu: one of the users is Begin.

	mu      sync.Mutex // Held while a message is put into several logs: it has one place in all.
	conns   int        // Guarded by mu.
	changed bool       // Guarded by mu: its name is among Server.changes.

	behind atomic.Bool // Written by append and caughtUp, read by the reading sides.

	ids *channelIDs // Guarded by mu; nil without Config.Order.

	plain encoding // Others follow it in its list.
}

// channels knows a server's channels by their names.
type channels struct {
	mu        sync.Mutex
	byName    map[string]*channel // Guarded by mu.
	lenAtTidy int                 // Guarded by mu: how many there were when tidy had been called.
	tidySoon  atomic.Bool         // There are many more than then: tidy is to be called soon.

	floor uint64 // Guarded by mu: what channels had that are not there any more had this id or a lower one.

	tidying sync.Mutex
	stale   map[*encoding]bool // Guarded by tidying: those without readers then.
}

// enter returns a channel, made if need be, that is not dropped until the caller
// leaves it.
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

// leave ends what enter began.
func (srv *Server) leave(ch *channel) {
	srv.channels.mu.Lock()
	ch.users--
	srv.channels.mu.Unlock()
	srv.dropIfEmpty(ch)
}

// dropIfEmpty forgets a channel in which there is nothing, if it is not in use.
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

// removeEmpty takes out a channel in which there is nothing, if it is there and not in use. Should
// there be one of its name again, it will use no number that this one has used.
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

func (chs *channels) len() int {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	return len(chs.byName)
}

// all returns the channels there are, in no order.
func (chs *channels) all() []*channel {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	return slices.AppendSeq(make([]*channel, 0, len(chs.byName)), maps.Values(chs.byName))
}

// tidy drops messages that are old, and channels with nothing in them.
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

// tidy drops encodings that nobody reads, and nobody read when it was called before: those
// in was. The others without readers it adds to now. They are kept for that long because
// many come back, and to make them anew takes long. The mutex must be held.
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

// spreadFrom is how many connections of one channel are given to one shard before others
// get some, so that of many small channels each wakes one.
const spreadFrom = 64

// join makes c, which has not been open before, a receiver of a channel in a form, from a
// position on. part ends it. at and gap are as of Conn.placeCursor; id is that of the message before.
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

// part ends what join began, but for the channel's being in use: see Conn.release. Called
// by c's shard.
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

// history is how many bytes of history a log has that begins to be read: none if nobody may ask
// for them, and so much that one client that asks for all forms leaves others theirs.
func (srv *Server) history(form *form) uint64 {
	switch {
	case srv.cfg.Channels:
		return uint64(min(srv.cfg.RetainBytes, max(minRetain, srv.cfg.RetainTotalBytes/32)))
	case form.kind != formPlain:
		return uint64(srv.cfg.RetainBytes)
	}
	return 0
}

// encoding returns the channel's encoding of a form, made if need be, with so many bytes of
// what the plain one holds. The mutex must be held.
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

// anyFeed returns one of its feeds, if there are any. The mutex must be held.
func (ch *channel) anyFeed() *feed {
	for e := &ch.plain; e != nil; e = e.next {
		if e.feeds != nil {
			return e.feeds
		}
	}
	return nil
}

// wake makes those shards look at the channel that have some of its connections. at is when the
// first of what is new was published, after Server.started. Any goroutine; it does not block.
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

// lag is how far the slowest shard is behind in the log where that is most, in bytes.
func (ch *channel) lag() (lag uint64) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		lag = max(lag, e.log.Lag())
	}
	return lag
}
