package broadcast

import (
	"net/netip"
	"sync/atomic"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// Conn is a connection of a Server, from accept on. Hooks may use the pointer as a map's key: it is the same for the
// whole life of the connection.
//
// A connection has two owners. A worker reads it, and a shard writes to it. What either of them needs is a type of
// its own: methods of *reader may run only where the reading side is owned, and methods of *receiver on the
// connection's shard, except where they say otherwise. Methods of *Conn need something of both sides: the descriptor
// and the feed do not change while a connection is open, so both sides use them.
//
// A server may have a million idle connections, so every byte counts, and neither side points back to its Conn: see
// TestConnSize.
type Conn struct {
	receiver // What a pass looks at comes first.
	reader
}

// receiver is the side of a connection that gets messages. The reading side owns it until it has posted opened, and the
// shard afterwards.
type receiver struct {
	cursor uint64 // The offset in the log of the next byte that the peer gets.

	fd int32 // Immutable after construction.

	out   outFlags
	phase phase
	why   Reason

	// The feed that the connection belongs to: its shard's lobby at first. Atomic: written by the reading side before
	// it posts opened, read by any goroutine.
	feedRef atomic.Pointer[feed]

	// Guarded by the list that the connection is in: Server.opening by its mutex, the lists of a shard by the shard.
	slot uint32 // Its index in the list.
	// In Server.clock's milliseconds. While opening or closing: when that must be over. While open: when the oldest
	// ping that is not answered yet was sent, or 0.
	since uint32
}

// reader is the side of a connection that is read. Whoever owns the turnstile owns it: a worker during a turn.
type reader struct {
	in *inbound // The peer's unfinished bytes; nil if there are none.

	turnstile // Atomic. It also has the readPhase.

	posted uint32 // Guarded by shard.inbox.mu: 1 + index in inbox.posts, or 0.
}

// readPhase is what the reading side expects of the peer.
type readPhase uint8

const (
	readHead     readPhase = iota // An HTTP request head.
	readLinger                    // The end of the stream: the request was refused. Other bytes are discarded.
	readFrames                    // WebSocket frames.
	readDiscard                   // The end of the stream: the close handshake has begun. Other bytes are discarded.
	readEnd                       // Nothing: the stream has ended.
	readReleased                  // Nothing: the fd is closed and must not be used.
)

// phase is the state of a connection in its shard.
type phase uint8

const (
	phaseNone    phase = iota // The shard does not own it yet, or no longer.
	phaseOpen                 // It receives messages.
	phaseClosing              // A close frame waits to be sent, or was sent.
)

// outFlags is what keeps a connection off the fast path of a pass.
type outFlags uint8

const (
	outBlocked outFlags = 1 << iota // Its socket's send buffer is full: see wantOut.
	outPending                      // It has an outOfBand, which goes out before the log.
)

// mark sets f, which takes the connection off the fast path.
func (r *receiver) mark(f outFlags) {
	if r.out == 0 {
		r.feed().offFastPath++
	}
	r.out |= f
}

// unmark clears f.
func (r *receiver) unmark(f outFlags) {
	if r.out == 0 {
		return
	}
	if r.out &^= f; r.out == 0 {
		feed := r.feed()
		feed.offFastPath--
		feed.shard.touched = append(feed.shard.touched, feed)
	}
}

// newConn returns a connection on fd that belongs to f, the lobby of a shard.
func newConn(fd int, f *feed) *Conn {
	c := &Conn{receiver: receiver{fd: int32(fd)}}
	c.feedRef.Store(f)
	return c
}

// feed returns the feed that the connection belongs to. Any goroutine may call it.
func (r *receiver) feed() *feed { return r.feedRef.Load() }

// channel returns the connection's channel. Any goroutine may call it once the connection has joined one.
func (r *receiver) channel() *channel { return r.feed().encoding.channel }

// shard returns the connection's shard. Any goroutine may call it, but join may still change the shard.
func (r *receiver) shard() *shard { return r.feed().shard }

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

// RemoteAddr returns the peer's address, or the client's if a proxy of Config.TrustedProxies has reported it. The
// port is 0 if it was not reported. RemoteAddr returns the zero AddrPort if the address is not an IP address, or if
// the kernel no longer knows it. It makes a system call. Only hooks may call it.
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

// event is the netpoll callback. An event is only a hint: what counts is what recv(2) and send(2) return, so a late
// event does no harm.
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

// kill ends the use of c's fd. The fd is closed at once or, if the reading side is owned, by its owner's next turn.
// Calls after the first do nothing. Any goroutine may call kill.
func (c *Conn) kill() {
	callHook := c.shard().srv.cfg.OnDisconnect != nil && c.why != 0 // c.why is 0 if c was never open.
	for {
		s := c.state.Load()
		switch {
		case s&closed != 0:
			return
		case s&owned != 0:
			if c.state.CompareAndSwap(s, s|closed) {
				return
			}
		case callHook: // On a worker, as all hooks.
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

// release closes the fd and frees all memory. The caller owns the reading side, and c is closed: nobody else uses c.
func (c *Conn) release() {
	c.freeInbound()
	c.setReadPhase(readReleased)
	srv := c.shard().srv
	if e := c.feed().encoding; e != nil {
		srv.leave(e.channel) // Everything that the peer has sent is published by now.
	}
	defer srv.extras.discard(c) // After the fd is closed: see pump.
	defer srv.poller.Del(int(c.fd))
	defer srv.addresses.unregister(c) // After the hook, which may ask for the address.
	srv.limiter.forget(c)
	if hook := srv.cfg.OnDisconnect; hook != nil && c.why != 0 {
		hook(c, c.why)
	}
}

// abort makes the close that follows send a reset (SO_LINGER, socket(7)). The kernel then frees at once what it holds
// for a peer that does not read, instead of keeping it for minutes.
func (r *receiver) abort() {
	_ = unix.SetsockoptLinger(int(r.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// connList is a list of connections that know their index in it, so that one can be taken out without a search.
type connList []*Conn

// add appends c.
func (l *connList) add(c *Conn) {
	if n := len(*l); n == cap(*l) && n < 64 {
		// There may be very many short lists, so they grow by an eighth and are not doubled.
		*l = append(make([]*Conn, 0, n+1+n/8), *l...)
	}
	c.slot = uint32(len(*l))
	*l = append(*l, c)
}

// remove takes c out. The last connection moves to c's place and is returned; moved is nil if that was c itself.
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

// holds reports whether c is in the list.
func (l connList) holds(c *Conn) bool { return int(c.slot) < len(l) && l[c.slot] == c }
