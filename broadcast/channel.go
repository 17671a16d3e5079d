package broadcast

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast/framelog"
)

// channel is some connections, and the messages that all of them get. There may be
// very many: one that is at rest is this, a feed for each shard that has some of the
// connections, and an entry in a map.
type channel struct {
	name string // Immutable.

	mu    sync.Mutex // Held while a message is put into several logs: it has one place in all.
	users int        // Guarded by mu: connections, and others that keep it from being dropped.

	behind atomic.Bool // Written by append and caughtUp, read by the reading sides.

	plain encoding // Others follow it in its list.
}

// channels knows a server's channels by their names.
type channels struct {
	mu sync.Mutex // May be held when a channel's is taken.
	of map[string]*channel
}

// enter returns a channel, made if need be, that is not dropped until the caller
// leaves it.
func (srv *Server) enter(name string) *channel {
	chs := &srv.channels
	chs.mu.Lock()
	defer chs.mu.Unlock()
	ch := chs.of[name]
	if ch == nil {
		ch = &channel{name: name}
		ch.plain.init(ch, srv.forms[0])
		chs.of[name] = ch
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.users++
	return ch
}

// leave ends what enter began.
func (srv *Server) leave(ch *channel) {
	ch.mu.Lock()
	ch.users--
	idle := ch.idle()
	ch.mu.Unlock()
	if idle {
		srv.drop(ch)
	}
}

// idle says whether nothing would be lost with the channel. Its mutex must be held.
func (ch *channel) idle() bool { return ch.users == 0 && ch.plain.log.Empty() }

// drop forgets a channel, unless it is in use again.
func (srv *Server) drop(ch *channel) {
	srv.channels.mu.Lock()
	defer srv.channels.mu.Unlock()
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.idle() {
		delete(srv.channels.of, ch.name)
	}
}

// all returns the channels there are, in no order.
func (chs *channels) all() []*channel {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	return slices.AppendSeq(make([]*channel, 0, len(chs.of)), maps.Values(chs.of))
}

// tidy drops messages that are old, and channels with nothing in them.
func (srv *Server) tidy() {
	space := srv.forms[0].log.Space
	space.Trim()
	space.Expire(time.Since(srv.started))
	for _, ch := range srv.channels.all() {
		ch.mu.Lock()
		idle := ch.idle()
		ch.mu.Unlock()
		if idle {
			srv.drop(ch)
		}
	}
}

// spreadFrom is how many connections of one channel are given to one shard before others
// get some, so that of many small channels each wakes one.
const spreadFrom = 64

// join makes c, which has not been open before, a receiver of a channel in a form: it
// gets what is published from now on. part ends it.
func (srv *Server) join(c *Conn, name string, form *form) {
	ch := srv.enter(name)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	s := c.shard()
	if f := ch.anyFeed(); f != nil && srv.cfg.Channels && ch.users <= spreadFrom {
		s = f.shard
	}
	f := ch.encoding(form).feed(s)
	f.conns++
	c.at.Store(f)
	c.cursor = f.encoding.log.Head()
}

// part ends what join began. Called by c's shard. What nobody reads is not kept.
func (srv *Server) part(c *Conn) {
	f := c.feed()
	ch := f.encoding.channel
	ch.mu.Lock()
	if f.conns--; f.conns == 0 {
		ch.forget(f)
		f.shard.forget(f)
	}
	ch.mu.Unlock()
	srv.leave(ch)
}

// encoding returns the channel's encoding of a form, made if need be. The mutex must be
// held.
func (ch *channel) encoding(form *form) *encoding {
	last := &ch.plain
	for e := last; e != nil; e = e.next {
		if e.form == form {
			return e
		}
		last = e
	}
	last.next = new(encoding)
	last.next.init(ch, form)
	return last.next
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

// forget takes out a feed that has no connection any more, and its encoding if it was
// the last one. The mutex must be held.
func (ch *channel) forget(f *feed) {
	e := f.encoding
	e.log.Detach(&f.Reader)
	at := &e.feeds
	for *at != f {
		at = &(*at).next
	}
	*at = f.next
	if e.feeds != nil || e == &ch.plain {
		return
	}
	e.log.Clear()
	prev := &ch.plain
	for prev.next != e {
		prev = prev.next
	}
	prev.next = e.next
}

// wake makes those shards look at the channel that have some of its connections. Any
// goroutine; it does not block.
func (ch *channel) wake() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		for f := e.feeds; f != nil; f = f.next {
			f.shard.inbox.putDue(f)
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

// encoding is a channel's messages in one form: a log of their own, and who reads it.
type encoding struct {
	// Immutable after init.
	channel *channel
	form    *form
	log     framelog.Log

	next  *encoding // Guarded by channel.mu: the channel's others, all of which are read.
	feeds *feed     // Guarded by channel.mu: a list, one for each shard that has readers.
}

// init makes e ready. The channel's mutex must be held, unless e is its first.
func (e *encoding) init(ch *channel, form *form) {
	e.channel, e.form = ch, form
	e.log.Init(&form.log, 0, ch.plain.log.Frames())
}

// feed returns a shard's feed of e, made if need be. The channel's mutex must be held.
func (e *encoding) feed(s *shard) *feed {
	for f := e.feeds; f != nil; f = f.next {
		if f.shard == s {
			return f
		}
	}
	f := &feed{shard: s, encoding: e, next: e.feeds}
	e.log.Attach(&f.Reader)
	e.feeds = f
	return f
}
