package broadcast

import (
	"bytes"
	"sync/atomic"
)

// Send sends m to this connection alone. The payload is copied. Send does not block and may be called from any
// goroutine. In OnConnect the message goes out right after the greeting; later, it goes out after everything that was
// published to the channel before the call, and before everything that is published after it.
//
// The message has no id and is not kept: a client that was disconnected does not get it later. With the subprotocol
// crier.v1, the line before the message is "direct: -"; as a server-sent event, the message has no id.
//
// A nil error means that the message was queued, not that it has arrived: the message is lost if the connection ends
// before the socket has taken it.
//
// ErrBusy means that the message was not queued: more than 64 KiB of direct messages already wait for this connection,
// because its peer does not read, or the direct messages of all connections would exceed their share of
// Config.MemoryBytes. So at most 64 KiB and one message wait for a connection, beside what its socket buffer holds. A
// direct message is not a reply, so the server continues to read from the connection while they wait. The caller must
// do one of three things: drop the message, Close the connection, or send again later. A program whose OnMessage
// answers each message of a client with Send should Close the connection at ErrBusy: that client sends but does not
// read.
//
// ErrClosed means that the connection has ended or that Close was called. ErrTooLarge, ErrNotText and ErrKind are as
// for Publish.
func (c *Conn) Send(m Message) error {
	srv := c.shard().srv
	if err := srv.checkMessage(m); err != nil {
		return err
	}
	x := c.lockExtra()
	if x == nil {
		return ErrClosed
	}
	defer x.mu.Unlock()
	if x.ending || c.has(closed) {
		return ErrClosed
	}
	if !x.reserve(len(m.Payload) + directOverhead) {
		return ErrBusy
	}
	if !c.has(opened) { // Pairs with the set in open.
		x.beforeOpen = append(x.beforeOpen, Message{m.Kind, bytes.Clone(m.Payload)})
		return nil
	}
	mail := newMail()
	mail.direct.add(c.feed().encoding.form, x, m, c.logHead())
	c.shard().post(c, postDirect, 0, mail)
	return nil
}

// maxDirectBytes is how much may wait for a connection before it takes no more direct messages.
const maxDirectBytes = 64 << 10

// directOverhead is roughly how many bytes a direct message takes in addition to its payload.
const directOverhead = 32

// logHead returns the head of c's log. c must be open.
func (r *receiver) logHead() uint64 { return r.feed().encoding.log.Head() }

// reserve counts n bytes as waiting, and reports whether there is room for them.
func (x *extra) reserve(n int) bool {
	if x.unsent.Load() > maxDirectBytes || !x.srv.directBytes.reserve(&x.srv.unfinished, int64(n)) {
		return false
	}
	x.unsent.Add(int64(n))
	return true
}

// free gives back n bytes that reserve has counted.
func (x *extra) free(n int) {
	x.unsent.Add(-int64(n))
	x.srv.directBytes.free(&x.srv.unfinished, int64(n))
}

// directBytes counts the bytes of the direct messages that wait, of all connections. With Config.MemoryBytes, they
// share the room of unfinished messages, and may take up half of it.
type directBytes struct{ atomic.Int64 }

func (d *directBytes) reserve(u *unfinished, n int64) bool {
	if u.most == 0 {
		return true
	}
	if d.Add(n) > u.most/2 {
		d.Add(-n)
		return false
	}
	u.bytes.Add(n)
	return true
}

func (d *directBytes) free(u *unfinished, n int64) {
	if u.most > 0 {
		d.Add(-n)
		u.bytes.Add(-n)
	}
}

// moveBeforeOpen moves what was sent before c was open into m, and reports whether there was anything. x.mu must be
// held.
func (x *extra) moveBeforeOpen(c *Conn, m *mail, at uint64) bool {
	for _, early := range x.beforeOpen {
		m.direct.add(c.feed().encoding.form, x, early, at)
	}
	some := len(x.beforeOpen) > 0
	x.beforeOpen = nil
	return some
}

// direct holds messages for one connection alone. Each is counted with its frame header and directOverhead.
type direct struct {
	placed
	x *extra
}

// add adds a message for which Send has reserved room.
func (d *direct) add(f *form, x *extra, m Message, at uint64) {
	d.x = x
	before := len(d.frames)
	d.frames = f.appendDirect(d.frames, m)
	n := len(d.frames) - before
	d.appendRun(placedRun{at, n, 1})
	d.uncount(len(m.Payload) - n) // It was reserved without its header.
}

// addAll moves all messages of from to d.
func (d *direct) addAll(from *direct) {
	d.x = from.x
	d.frames = append(d.frames, from.frames...)
	for _, r := range from.runs {
		d.appendRun(r)
	}
	from.clear()
}

// uncount gives back n bytes that were sent, or that will not be sent.
func (d *direct) uncount(n int) {
	if d.x != nil && n != 0 {
		d.x.free(n)
	}
}

// counted returns how many bytes of d are counted as waiting.
func (d *direct) counted() int {
	n := len(d.frames)
	for _, r := range d.runs {
		n += r.added * directOverhead
	}
	return n
}

// discardAll discards all messages.
func (d *direct) discardAll() {
	d.uncount(d.counted())
	d.clear()
}

// sendDirect sends messages to c alone, now or when it can. They are moved out of d.
func (s *shard) sendDirect(c *Conn, d *direct) {
	if c.out == 0 && c.cursor >= d.last() {
		rest, ok := s.writeBytes(c, d.frames)
		switch {
		case ok:
			d.discardAll()
			c.feed().flush(c)
		case c.phase != phaseNone: // Otherwise c is gone, and mail.recycle discards the messages.
			a := s.outOfBandOf(c)
			a.sending = append(a.sending, rest...)
			a.direct.x, a.directCounted = d.x, d.counted()
			d.clear()
		}
		return
	}
	s.outOfBandOf(c).direct.addAll(d)
	if c.out&outBlocked == 0 {
		c.feed().flush(c)
	}
}
