package broadcast

import (
	"golang.org/x/sys/unix"
)

// readsPerTurn is how many full buffers a connection may read before others
// get their turn, so that a firehose does not keep a worker for itself. It is fewer
// where they take long: see longTurn.
const readsPerTurn = 4

// turn reads until the socket is empty or the turn is over.
func (c *Conn) turn(w *worker) {
	srv := c.shard().srv
	for range readsPerTurn {
		if c.has(closed) {
			c.tooLate(w.buf) // Only endHandshakes closes it before it is open or answered.
			c.release()
			return
		}
		if c.takeFlag(evicted) {
			c.evict()
		}
		v := c.readOnce(w)
		c.notifyShards(w)
		if v != held || w.long() { // What waited in the long lane belongs there still.
			c.setCostly(w.long()) // Before anybody pushes it.
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

// panicked closes the one connection whose turn it was.
func (c *Conn) panicked(w *worker, v any, stack []byte) {
	srv := c.shard().srv
	c.notifyShards(w) // What came of the frames before.
	srv.cfg.Logger.Error("panic while reading; the connection is closed", "panic", v, "stack", string(stack))
	switch {
	case c.readPhase == readReleased: // In OnDisconnect. The fd is closed already.
		return
	case c.has(closed): // While the hook ran. Its turn releases it.
	case c.readPhase == readHead, c.readPhase == readLinger:
		c.readPhase = readEnd
		srv.abandon(c)
	case c.readPhase == readFrames:
		c.freeInbound()
		c.stopReading(closeMail(1011, "internal error"), ReasonInternal)
	}
	srv.queue.push(c) // Still owned: it leaves in an orderly way.
}

// readOnce makes one recv and takes what it brought. The verdict is short if
// the socket is empty.
func (c *Conn) readOnce(w *worker) verdict {
	if c.readPhase == readHead && c.in != nil && (c.in.aheadSince != 0 || c.in.handed) {
		if v := c.requestHead(w, nil); v == held || c.readPhase == readHead {
			return v
		}
	}
	if c.readPhase == readFrames && c.in != nil {
		// What came while it was held, or had to wait, goes first.
		if v := c.decode(w, nil); v == held || v == later {
			return v
		}
	}
	if c.readPhase == readEnd {
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
	// A short read has emptied the socket, and what comes later brings an event
	// of its own. But the end of the stream may have come with these bytes.
	if n < len(buf) && !c.has(hup) {
		return short
	}
	return more
}

// heldBytes is how much is read of who may have to wait before it is published.
const heldBytes = 4 << 10

// recvBuffer is what to read into, or says that c has to wait first. What is read of who has
// to wait is kept, so with a bound on that it is little, or nothing.
func (c *Conn) recvBuffer(w *worker) ([]byte, bool) {
	if c.readPhase == readHead {
		return w.buf[:c.headRoom()], true
	}
	srv := c.shard().srv
	if srv.unfinished.most == 0 || c.readPhase != readFrames {
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

// receive takes the bytes of one recv. b is the worker's buffer.
func (c *Conn) receive(w *worker, b []byte) verdict {
	switch c.readPhase {
	case readHead:
		return c.requestHead(w, b)
	case readFrames:
		return c.decode(w, b)
	default:
		return over
	}
}

// endOfStream notes that the peer's stream has ended.
func (c *Conn) endOfStream(why Reason) {
	phase := c.readPhase
	c.readPhase = readEnd
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

// notifyShards passes on what came of the bytes of one recv: pongs, and the shards'
// wake-up. Once for all frames that came together, so that they leave together.
func (c *Conn) notifyShards(w *worker) {
	c.postPongs(w)
	if w.published != 0 {
		c.channel().wake(w.published)
		w.published = 0
	}
}

// postPongs passes on the answers to pings. They leave in their place among the
// messages of the same peer: so a client may take a pong for a sign that what it
// published before has gone out.
func (c *Conn) postPongs(w *worker) {
	if w.pongs.empty() {
		return
	}
	m := newMail()
	m.pongs.appendFrames(c.spokeUpTo(), w.pongs.frames)
	w.pongs.clear()
	c.shard().post(c, postPong, 0, m)
}

// spokeUpTo is a place in the log behind all that c published, or 0 if it has
// published nothing since this was asked last.
func (c *Conn) spokeUpTo() uint64 {
	if c.takeFlag(spoke) {
		return c.feed().encoding.log.Head()
	}
	return 0
}
