package broadcast

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// postKind is a set of events that other goroutines report to a shard about one connection.
type postKind uint8

const (
	postOpened   postKind = 1 << iota // The handshake is finished: send mail.response, then the log from c.cursor on.
	postWritable                      // The socket is writable again.
	postPong                          // The peer has sent pings, which mail.pongs answers.
	postDirect                        // mail.direct has messages for this connection alone.
	postClose                         // Nothing more is read but the end of the stream: send mail.closing, a close frame.
	postEnd                           // The peer's stream has ended.
)

// post is what the shard is told about one connection. There is at most one post for each connection, so the length
// of an inbox is bounded by the number of connections.
type post struct {
	c    *Conn
	mail *mail // nil if nothing is to be sent.
	what postKind
	why  Reason // With postClose and postEnd.
}

// mail is what a shard is asked to send beside the log. It is pooled, and owned by one goroutine at a time.
type mail struct {
	response []byte    // The answer with 101, and the greeting.
	begins   uint64    // The number of messages before the place in the channel that the greeting names.
	until    time.Time // When the connection's Grant ends, or zero.
	pongs    pongs
	direct   direct
	closing  []byte // A close frame.
	at       uint64 // The offset in the log where closing goes out.
}

// maxPooledPongs bounds the capacity of a mail's pongs in the pool, so that a flood of pings does not leave large
// buffers there.
const maxPooledPongs = 256

var mails = sync.Pool{New: func() any { return &mail{response: make([]byte, 0, 256)} }}

func newMail() *mail { return mails.Get().(*mail) }

// recycle gives m, which may be nil, back to the pool.
func (m *mail) recycle() {
	if m == nil {
		return
	}
	m.direct.discardAll() // Not empty if the connection is no longer open.
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

// inbox collects what other goroutines report until the shard's next round.
type inbox struct {
	hasPosts atomic.Bool // Written under mu by extend and takePosts; read by the shard without it, which is cheap.

	mu    sync.Mutex
	posts []post    // Guarded by mu.
	pongs int       // Guarded by mu: bytes of pongs in posts, before they were merged.
	due   []dueFeed // Guarded by mu: feeds with new messages in their logs.
	calls []func()  // Guarded by mu: functions to be called on the shard's goroutine.

	// Owned by the shard: the other halves of the double buffers.
	spare    []post
	spareDue []dueFeed
}

// dueFeed is a feed with new messages in its log.
type dueFeed struct {
	*feed
	since time.Duration // When the first of them was published, after Server.started; 0 if there are none.
}

// putDue records that there are new messages in a feed's log. at is when the first of them was published.
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

// takeDue removes and returns what putDue has recorded. The slice is valid until the next call.
func (b *inbox) takeDue() []dueFeed {
	clear(b.spareDue[:cap(b.spareDue)])
	if cap(b.spareDue) > 1024 { // A storm is over: do not keep its memory.
		b.spareDue = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	due := b.due
	for _, d := range due {
		d.due.Store(false) // Before the pass: a message that is published during it makes the feed due again.
	}
	b.due, b.spareDue = b.spareDue[:0], due
	return due
}

// putPost adds a post, or extends the one that c already has. m may be nil and is handed over.
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

// extend makes its arguments c's post, or adds them to c's post if there is one.
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

// maxPostedPongs is how many bytes of pongs may be posted to an inbox between two rounds. Above it, only the newest
// pong of each connection is kept.
const maxPostedPongs = 1 << 20

// putCall makes the shard call f on its goroutine.
func (b *inbox) putCall(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, f)
}

// takeCalls removes and returns what putCall has recorded.
func (b *inbox) takeCalls() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

// takePosts removes and returns all posts. The slice is valid until the next call.
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

// post tells the shard something about c and wakes it. m may be nil and is handed over. Any goroutine may call it.
func (s *shard) post(c *Conn, what postKind, why Reason, m *mail) {
	s.inbox.putPost(c, what, why, m)
	s.wakeUp()
}

// closeMail returns mail with a close frame.
func closeMail(code ws.StatusCode, reason string) *mail {
	m := newMail()
	m.closing = appendClose(m.closing, code, reason)
	return m
}
