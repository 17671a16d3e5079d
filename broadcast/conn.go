package broadcast

import (
	"net/netip"
	"sync/atomic"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// Conn is a connection of a Server, from accept on. To hooks it is a name: the
// same pointer each time, fit to be a map's key.
//
// A million of these lie idle, so every byte counts: see TestConnSize.
type Conn struct {
	// What a pass looks at comes first, together: see shard.pass.

	// Owned by the reading side (see turnstile) until it has posted opened, by
	// the shard after that.
	cursor uint64 // The offset in the log of the next byte it gets.

	fd int32 // Immutable.

	// Owned by the shard.
	out   outFlags
	phase phase
	why   Reason

	readPhase readPhase // Owned by the reading side.

	// Which of its shard's feeds it is of. Written by the reading side before it
	// posts opened.
	feedRef atomic.Pointer[feed]

	in *inbound // Owned by the reading side: what is unfinished of the peer's bytes; nil when idle.

	turnstile // Atomic.

	// Guarded by the list that it is in: Server.opening by its mutex, the
	// shard's by the shard.
	slot uint32
	// When the handshake or the closing must be over; while it is open, when
	// the oldest ping went out that is not answered, or 0. In Server.clock's
	// milliseconds.
	since uint32

	posted uint32 // Guarded by shard.inbox.mu: 1 + index in inbox.posts, or 0.
}

// readPhase is what the reading side makes of the bytes that come.
type readPhase uint8

const (
	readHead     readPhase = iota // an HTTP request head
	readLinger                    // nothing: the request was refused, the peer is to go
	readFrames                    // WebSocket frames
	readDiscard                   // nothing: a close frame ends it, the peer is to go
	readEnd                       // the stream has ended: it reads no more
	readReleased                  // the fd is given back: nothing may follow
)

// phase is what the shard makes of a connection.
type phase uint8

const (
	phaseNone    phase = iota // not the shard's yet, or no longer
	phaseOpen                 // it gets messages
	phaseClosing              // a close frame is queued or sent
)

// outFlags is what keeps a connection from the plain way of writing.
type outFlags uint8

const (
	outBlocked outFlags = 1 << iota // its socket is full: wantOut brings it back
	outPending                      // it has an aside, which goes first
)

// mark keeps c from the plain way of writing. Its shard calls it.
func (c *Conn) mark(f outFlags) {
	if c.out == 0 {
		c.feed().offFastPath++
	}
	c.out |= f
}

// unmark undoes mark.
func (c *Conn) unmark(f outFlags) {
	if c.out == 0 {
		return
	}
	if c.out &^= f; c.out == 0 {
		feed := c.feed()
		feed.offFastPath--
		feed.shard.touched = append(feed.shard.touched, feed)
	}
}

func newConn(fd int, f *feed) *Conn {
	c := &Conn{fd: int32(fd)}
	c.feedRef.Store(f)
	return c
}

func (c *Conn) feed() *feed { return c.feedRef.Load() }

func (c *Conn) channel() *channel { return c.feedRef.Load().encoding.channel }

func (c *Conn) shard() *shard { return c.feedRef.Load().shard }

// Channel returns the name of the connection's channel, which is empty without Config.Channels. Only hooks may call
// Channel.
func (c *Conn) Channel() string {
	if e := c.feed().encoding; e != nil {
		return e.channel.name
	}
	if c.in != nil { // In OnConnect.
		return c.in.channel
	}
	return ""
}

// RemoteAddr is the peer's address, or that of the client if a proxy of
// Config.TrustedProxies told it (the port is 0 if it did not tell that). It is the
// zero AddrPort if the kernel does not know it any more or it is not an IP address.
// It makes a system call. It may be called from within the hooks only.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if from, ok := c.shard().srv.addresses.clientOf(c); ok {
		return from
	}
	if x := c.extra(); x != nil && x.remote.IsValid() {
		return x.remote
	}
	sa, err := unix.Getpeername(int(c.fd))
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	default:
		return netip.AddrPort{}
	}
}

// event is the netpoll callback. An event is a hint: the truth is what recv(2)
// and send(2) say, so a late one does no harm.
func (c *Conn) event(ev netpoll.Events) {
	const ended = netpoll.ReadHangup | netpoll.Hangup | netpoll.Error
	if ev == netpoll.Closed {
		return
	}
	if ev&(netpoll.Writable|ended) != 0 && c.takeFlag(wantOut) {
		c.shard().post(c, postWritable, 0, nil)
		c.shard().srv.poller.Yield(int(c.fd))
	}
	if ev&(netpoll.Readable|ended) == 0 {
		return
	}
	var flags uint32
	if ev&ended != 0 {
		flags = hup
	}
	if c.acquire(flags) {
		c.shard().srv.queue.push(c)
		c.shard().srv.poller.Yield(int(c.fd))
	}
}

// kill ends the use of c's fd: it is closed now or, if the reading side is
// owned, by its owner when it leaves. why is 0 if it was never open. Calls
// after the first do nothing.
func (c *Conn) kill() {
	told := c.shard().srv.cfg.OnDisconnect != nil && c.why != 0
	for {
		s := c.state.Load()
		switch {
		case s&closed != 0:
			return
		case s&owned != 0:
			if c.state.CompareAndSwap(s, s|closed) {
				return
			}
		case told: // The hook must run on a worker.
			if c.state.CompareAndSwap(s, s|closed|owned) {
				c.shard().srv.queue.push(c)
				return
			}
		case c.state.CompareAndSwap(s, s|closed):
			c.release()
			return
		}
	}
}

// release lets go of the fd and of all memory. Its caller is the last.
func (c *Conn) release() {
	c.freeInbound()
	c.readPhase = readReleased
	srv := c.shard().srv
	if e := c.feed().encoding; e != nil {
		srv.leave(e.channel) // What its peer sent is published by now.
	}
	defer srv.extras.discard(c) // After the fd is closed: see pump.
	defer srv.poller.Del(int(c.fd))
	defer srv.addresses.unregister(c) // The hook may ask for it.
	srv.limiter.forget(c)
	if hook := srv.cfg.OnDisconnect; hook != nil && c.why != 0 {
		hook(c, c.why)
	}
}

// abort makes the coming close send a reset, which frees what the kernel still
// holds for a peer that does not read, instead of keeping it for minutes.
func (c *Conn) abort() {
	_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// connList is a list of connections that know their place in it, so that one
// is taken out without a search.
type connList []*Conn

func (l *connList) add(c *Conn) {
	if n := len(*l); n == cap(*l) && n < 64 {
		// Of small ones there may be very many: they are not doubled.
		*l = append(make([]*Conn, 0, n+1+n/8), *l...)
	}
	c.slot = uint32(len(*l))
	*l = append(*l, c)
}

// remove takes c out; the last one moves to its place and is returned, or nil
// if that was c.
func (l *connList) remove(c *Conn) (moved *Conn) {
	s := *l
	last := len(s) - 1
	if int(c.slot) != last {
		moved = s[last]
		moved.slot = c.slot
		s[c.slot] = moved
	}
	s[last] = nil
	*l = s[:last]
	return moved
}

// holds says whether c is in the list.
func (l connList) holds(c *Conn) bool { return int(c.slot) < len(l) && l[c.slot] == c }
