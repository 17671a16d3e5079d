package broadcast

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// postKind is a set of things that others tell a shard about a connection.
type postKind uint8

const (
	postOpened   postKind = 1 << iota // the handshake is done: mail.response, then messages from c.cursor on
	postWritable                      // its socket has room again
	postPong                          // the peer pinged: mail.pongs answers
	postDirect                        // mail.direct is for it alone
	postClose                         // the reading side is done: send mail.closing, a close frame
	postEnd                           // the peer's stream has ended
)

// post is what the shard is told about one connection. There is at most one
// for each, so an inbox is bounded by the number of connections.
type post struct {
	c    *Conn
	mail *mail // nil if nothing is to be sent
	what postKind
	why  Reason // for postClose and postEnd
}

// mail is what a shard is asked to send beside messages. It is pooled.
type mail struct {
	response []byte    // the 101 answer and the greeting
	begins   uint64    // How many messages lie before the place that it says.
	until    time.Time // When it is over; see Grant.
	pongs    pongs
	direct   direct
	closing  []byte // a frame
	at       uint64 // The place in the log where closing goes out.
}

// maxPooledPongs keeps what one flood of pings needed from being kept in the pool.
const maxPooledPongs = 256

var mails = sync.Pool{New: func() any { return &mail{response: make([]byte, 0, 256)} }}

func newMail() *mail { return mails.Get().(*mail) }

func (m *mail) recycle() {
	if m == nil {
		return
	}
	m.direct.discardAll() // Of a connection that is no longer open.
	m.direct.x = nil
	if cap(m.direct.frames) > 4096 {
		m.direct.frames = nil
	}
	if cap(m.response) > 4096 || cap(m.pongs.frames) > maxPooledPongs {
		return
	}
	m.response, m.closing, m.at, m.until = m.response[:0], m.closing[:0], 0, time.Time{}
	m.pongs.clear()
	mails.Put(m)
}

// inbox collects posts until the shard comes by.
type inbox struct {
	hasPosts atomic.Bool // Written under mu; lets the shard look without the lock.

	mu    sync.Mutex
	posts []post    // Guarded by mu.
	pongs int       // Guarded by mu: bytes of pongs in posts, as they came.
	due   []dueFeed // Guarded by mu: those in whose logs there is something new.
	calls []func()  // Guarded by mu: what others ask to be called.

	// Owned by the shard: the other halves of the double buffers.
	spare    []post
	spareDue []dueFeed
}

// dueFeed is a feed in whose log there is something new.
type dueFeed struct {
	*feed
	since time.Duration // When the first of it was published, after Server.started; 0 if there is none.
}

// putDue notes that there is something new in a feed's log, published at a time.
func (b *inbox) putDue(f *feed, at time.Duration) {
	if f.due.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !f.due.Swap(true) {
		b.due = append(b.due, dueFeed{f, at})
	}
}

// takeDue returns what was put, which stays valid until the next call.
func (b *inbox) takeDue() []dueFeed {
	clear(b.spareDue[:cap(b.spareDue)])
	if cap(b.spareDue) > 1024 { // A storm is over: do not keep its memory.
		b.spareDue = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	due := b.due
	for _, d := range due {
		d.due.Store(false)
	}
	b.due, b.spareDue = b.spareDue[:0], due
	return due
}

// putPost adds a post, or adds to the one that is waiting for c already. m is
// handed over.
func (b *inbox) putPost(c *Conn, what postKind, why Reason, m *mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if what&postPong != 0 {
		b.pongs += len(m.pongs.frames)
	}
	p := b.extend(c, what, why, m)
	if what&postPong != 0 && b.pongs > maxPostedPongs {
		p.mail.pongs.keepNewest()
	}
}

// merge makes it c's post, or a part of it.
func (b *inbox) extend(c *Conn, what postKind, why Reason, m *mail) *post {
	if c.posted == 0 {
		b.posts = append(b.posts, post{c: c, mail: m, what: what, why: why})
		c.posted = uint32(len(b.posts))
		b.hasPosts.Store(true) // Pairs with the load in shard.pass.
		return &b.posts[c.posted-1]
	}
	p := &b.posts[c.posted-1]
	p.what |= what
	if p.why == 0 {
		p.why = why
	}
	if p.mail == nil {
		p.mail = m
		return p
	}
	if what&postPong != 0 {
		p.mail.pongs.addAll(&m.pongs)
	}
	if what&postDirect != 0 {
		p.mail.direct.addAll(&m.direct)
	}
	if what&postClose != 0 && len(p.mail.closing) == 0 { // The first close counts, as the first reason does.
		p.mail.closing = append(p.mail.closing, m.closing...)
		p.mail.at = m.at
	}
	m.recycle()
	return p
}

// maxPostedPongs is how many bytes of pongs wait in an inbox before of each connection's
// only the newest is kept.
const maxPostedPongs = 1 << 20

// putCall asks for a call on the shard's goroutine.
func (b *inbox) putCall(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, f)
}

// takeCalls returns what was asked for.
func (b *inbox) takeCalls() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

// takePosts returns what has come, which stays valid until the next take.
func (b *inbox) takePosts() []post {
	clear(b.spare[:cap(b.spare)])
	if cap(b.spare) > 1024 { // A storm is over: do not keep its memory.
		b.spare = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pongs = 0
	posts := b.posts
	for i := range posts {
		posts[i].c.posted = 0
	}
	b.posts, b.spare = b.spare[:0], posts
	b.hasPosts.Store(false)
	return posts
}

// post tells the shard something about c and wakes it. m may be nil; it is
// handed over. Any goroutine.
func (s *shard) post(c *Conn, what postKind, why Reason, m *mail) {
	s.inbox.putPost(c, what, why, m)
	s.wakeUp()
}

// closeMail is the mail for a close frame with a status.
func closeMail(code ws.StatusCode, reason string) *mail {
	m := newMail()
	m.closing = appendClose(m.closing, code, reason)
	return m
}
