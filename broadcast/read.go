package broadcast

import (
	"golang.org/x/sys/unix"
)

// readsPerTurn is how many full buffers a connection may read in one turn, so that a peer that sends very much does
// not keep a worker for itself. A long turn reads fewer: see longTurn.
const readsPerTurn = 4

// turn reads until the socket is empty or the turn is over.
func (c *Conn) turn(w *worker) {
	srv := c.shard().srv
	for range readsPerTurn {
		if c.has(closed) {
			c.tooLate(w.buf) // If it was not answered, endHandshakes has closed it.
			c.release()
			return
		}
		if c.takeFlag(evicted) {
			c.evict()
		}
		v := c.readOnce(w)
		c.notifyShards(w)
		if v != held || w.long() { // A held connection keeps its place among those with long turns.
			c.setCostly(w.long()) // Before any goroutine pushes c.
		}
		if v == held {
			srv.hold(c)
			return
		}
		if v == short && c.relinquish() {
			return
		}
		if w.long() {
			break
		}
	}
	srv.queue.push(c)
}

// panicked closes the connection whose turn panicked.
func (c *Conn) panicked(w *worker, v any, stack []byte) {
	srv := c.shard().srv
	c.notifyShards(w) // Of the frames that were decoded before the panic.
	srv.cfg.Logger.Error("panic while reading; the connection is closed", "panic", v, "stack", string(stack))
	switch {
	case c.readPhase() == readReleased: // The panic was in OnDisconnect, and the fd is closed already.
		return
	case c.has(closed): // Closed while the hook ran. The next turn releases c.
	case c.readPhase() == readHead, c.readPhase() == readLinger:
		c.setReadPhase(readEnd)
		srv.abandon(c)
	case c.readPhase() == readFrames:
		c.freeInbound()
		c.stopReading(closeMail(1011, "internal error"), ReasonInternal)
	}
	srv.queue.push(c) // The reading side is still owned, and the next turn gives it up.
}

// readOnce makes one recv and handles the bytes. The verdict is short if the socket is empty.
func (c *Conn) readOnce(w *worker) verdict {
	if c.readPhase() == readHead && c.in != nil && (c.in.aheadSince != 0 || c.in.handed) {
		if v := c.requestHead(w, nil); v == held || c.readPhase() == readHead {
			return v
		}
	}
	if c.readPhase() == readFrames && c.in != nil {
		// Bytes that arrived while c was held, or waited for a long turn, go first.
		if v := c.decode(w, nil); v == held || v == later {
			return v
		}
	}
	if c.readPhase() == readEnd {
		return short
	}
	buf, ok := c.recvBuffer(w)
	if !ok {
		return held
	}
	n, errno := c.shard().sockets.recv(int(c.fd), buf)
	switch {
	case errno == unix.EAGAIN:
		return short
	case errno == unix.EINTR:
		return more
	case errno != 0:
		c.endOfStream(reasonFor(errno))
		return short
	case n == 0:
		c.endOfStream(ReasonPeerGone)
		return short
	}
	c.set(heard)
	w.cost += n / recvPerCost
	if v := c.receive(w, buf[:n]); v == held || v == later {
		return v
	}
	// A short read has emptied the socket, and later bytes bring an event of their own: epoll(7). But the end of the
	// stream may have arrived with these bytes.
	if n < len(buf) && !c.has(hup) {
		return short
	}
	return more
}

// heldBytes is how much is read at once of a connection that may have to wait before it publishes.
const heldBytes = 4 << 10

// recvBuffer returns the buffer to read into, or false if c must wait first. The bytes of a connection that must wait
// are kept, so with a bound on unfinished messages few bytes are read of it, or none.
func (c *Conn) recvBuffer(w *worker) ([]byte, bool) {
	if c.readPhase() == readHead {
		return w.buf[:c.headRoom()], true
	}
	srv := c.shard().srv
	if srv.unfinished.most == 0 || c.readPhase() != readFrames {
		return w.buf, true
	}
	wait := c.mayNotPublish()
	if wait && srv.unfinished.scarce() {
		return nil, false
	}
	if wait || srv.limiter != nil && srv.cfg.OverRate == RateHold {
		return w.buf[:heldBytes], true
	}
	return w.buf, true
}

// receive handles the bytes of one recv. b is the worker's buffer: it is borrowed, and changed.
func (c *Conn) receive(w *worker, b []byte) verdict {
	switch c.readPhase() {
	case readHead:
		return c.requestHead(w, b)
	case readFrames:
		return c.decode(w, b)
	default:
		return over
	}
}

// endOfStream handles the end of the peer's stream. why counts if the connection was open.
func (c *Conn) endOfStream(why Reason) {
	phase := c.readPhase()
	c.setReadPhase(readEnd)
	switch phase {
	case readHead:
		c.shard().srv.total.abandoned.Add(1)
		c.shard().srv.abandon(c)
	case readLinger:
		c.shard().srv.abandon(c)
	default:
		c.freeInbound()
		c.shard().post(c, postEnd, why, nil)
	}
}

// notifyShards passes on what decoding has produced: pongs to c's shard, and a wake-up to the shards that have
// receivers of new messages. It is called once for the frames of one recv, so that they go out together.
func (c *Conn) notifyShards(w *worker) {
	c.postPongs(w)
	if w.published != 0 {
		c.channel().wake(w.published)
		w.published = 0
	}
}

// postPongs posts the answers to pings. They keep their place among the messages of the same peer, so that a client
// may take a pong as a sign that what it published earlier has gone out.
func (c *Conn) postPongs(w *worker) {
	if w.pongs.empty() {
		return
	}
	m := newMail()
	m.pongs.appendFrames(c.spokeUpTo(), w.pongs.frames)
	w.pongs.clear()
	c.shard().post(c, postPong, 0, m)
}

// spokeUpTo returns an offset in the log after everything that c has published, or 0 if c has published nothing since
// the last call.
func (c *Conn) spokeUpTo() uint64 {
	if c.takeFlag(spoke) {
		return c.feed().encoding.log.Head()
	}
	return 0
}
