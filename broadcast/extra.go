package broadcast

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"
)

// extra holds what only some connections have, and is therefore not part of Conn.
type extra struct {
	unsent atomic.Int64 // Bytes of direct messages, see Send.

	// Immutable after construction.
	srv      *Server
	remote   netip.AddrPort // The client's address, where the socket does not know it, or zero.
	released func()         // Called when the fd is closed. May be nil.

	mu         sync.Mutex    // Held while something is posted, so that the calls of one goroutine keep their order.
	gone       bool          // Guarded by mu: the extra is no longer in the table.
	value      any           // Guarded by mu.
	ending     bool          // Guarded by mu: Close has been called.
	beforeOpen []Message     // Guarded by mu: messages sent to a connection that is not open yet.
	closing    *mail         // Guarded by mu: the close frame of a connection that is not open yet.
	request    *http.Request // Guarded by mu: of a handover, until it is answered.
	handedOver chan struct{} // Guarded by mu: closed when the handshake of a handover is over.
}

// extras is the table of the extras of all connections.
type extras struct {
	mu     sync.RWMutex
	byConn map[*Conn]*extra // Guarded by mu.
}

// extra returns c's extra, or nil if c has none. Any goroutine.
func (c *Conn) extra() *extra {
	if !c.has(extended) {
		return nil
	}
	t := &c.shard().srv.extras
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byConn[c]
}

// makeExtra returns c's extra and makes one if c has none. It returns nil if c has ended. Any goroutine.
func (c *Conn) makeExtra() *extra {
	if x := c.extra(); x != nil {
		return x
	}
	t := &c.shard().srv.extras
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.has(closed) { // discard may have run already.
		return nil
	}
	x := t.byConn[c]
	if x == nil {
		x = &extra{srv: c.shard().srv}
		t.storeLocked(c, x)
		if c.has(closed) { // discard may have run before storeLocked, and found no extra.
			t.deleteLocked(c)
			return nil
		}
	}
	return x
}

// lockExtra is makeExtra that returns the extra with its mutex held.
func (c *Conn) lockExtra() *extra {
	for {
		x := c.makeExtra()
		if x == nil {
			return nil
		}
		x.mu.Lock()
		if !x.gone {
			return x
		}
		x.mu.Unlock()
	}
}

// storeLocked sets c's extra. mu must be held.
func (t *extras) storeLocked(c *Conn, x *extra) {
	if t.byConn == nil {
		t.byConn = make(map[*Conn]*extra)
	}
	t.byConn[c] = x
	c.set(extended)
}

// discard removes c's extra. c must be closed, or no other goroutine may know it yet.
func (t *extras) discard(c *Conn) {
	if !c.has(extended) {
		return
	}
	c.endHandover()
	t.mu.Lock()
	x := t.byConn[c]
	t.deleteLocked(c)
	t.mu.Unlock()
	if x == nil {
		return
	}
	x.retire()
	if x.released != nil {
		x.released()
	}
}

// retire discards messages to a connection that was never opened, and makes Send return ErrClosed.
func (x *extra) retire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = true
	for _, early := range x.beforeOpen {
		x.free(len(early.Payload) + directOverhead)
	}
	x.beforeOpen = nil
}

// deleteLocked takes c's extra out of the table. mu must be held.
func (t *extras) deleteLocked(c *Conn) {
	delete(t.byConn, c)
	c.takeFlag(extended)
	if len(t.byConn) == 0 {
		t.byConn = nil // A map does not shrink.
	}
}

// endHandover tells the goroutine that handed c over that the handshake is over, and removes what is no longer needed
// from c's extra. It is also called at the end of a connection.
func (c *Conn) endHandover() {
	if c.extra() == nil {
		return
	}
	t := &c.shard().srv.extras
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.byConn[c]
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.handedOver == nil {
		return
	}
	close(x.handedOver)
	x.handedOver, x.request = nil, nil
	if x.value == nil && !x.ending && x.unsent.Load() == 0 && x.released == nil && !x.remote.IsValid() {
		x.gone = true
		t.deleteLocked(c)
	}
}

// Value returns the value that Grant.Value or SetValue has set, or nil. Any goroutine may call
// Value. Once OnDisconnect has returned, Value returns nil.
func (c *Conn) Value() any {
	x := c.extra()
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.value
}

// SetValue sets the value that Value returns, for instance in OnConnect if there is no Config.Authorize. Any
// goroutine may call SetValue. It returns ErrClosed if the connection has ended. A value takes about 150 bytes in
// addition to its own size. Config.MemoryBytes counts neither.
func (c *Conn) SetValue(v any) error {
	x := c.lockExtra()
	if x == nil {
		return ErrClosed
	}
	defer x.mu.Unlock()
	x.value = v
	return nil
}

// Close begins to close the connection with a status of RFC 6455, section 7.4, and a reason: UTF-8 without control
// characters, at most 123 bytes. The peer first gets what was published before, unless its socket is full. Messages
// that the peer sends afterwards are not published, and neither is the message that a running OnMessage returns.
// OnDisconnect gets ReasonDisconnected.
//
// Any goroutine may call it, hooks among them, and it does not block. If OnConnect calls Close, the connection is
// opened first and closed after the greeting, so that a browser's page gets the status and the reason; it gets
// neither from a connection that OnConnect refuses. After the first call, Close returns ErrClosed.
func (c *Conn) Close(status uint16, reason string) error {
	if err := CheckClose(status, reason); err != nil {
		return err
	}
	x := c.lockExtra()
	if x == nil {
		return ErrClosed
	}
	defer x.mu.Unlock()
	if x.ending {
		return ErrClosed
	}
	x.ending = true
	c.set(mute)
	m := closeMail(ws.StatusCode(status), reason)
	if !c.has(opened) { // Pairs with the set in open.
		x.closing = m
		return nil
	}
	m.at = c.logHead()
	c.shard().post(c, postClose, ReasonDisconnected, m)
	return nil
}

// maxCloseReason is the greatest length of a reason in a close frame, in bytes: RFC 6455, section 5.5.
const maxCloseReason = ws.MaxControlFramePayloadSize - 2

// open tells c's shard that c is open, with m, and passes on the calls of Send and Close that came before.
func (c *Conn) open(m *mail) {
	x := c.extra()
	if x != nil {
		x.mu.Lock()
	}
	what := postOpened
	if x != nil && x.moveBeforeOpen(c, m, 0) {
		what |= postDirect // Right after the greeting.
	}
	c.shard().post(c, what, 0, m)
	c.set(opened) // Pairs with the loads in Send and Close, which may have made an extra meanwhile.
	if x == nil {
		if x = c.extra(); x == nil {
			return
		}
		x.mu.Lock()
	}
	if len(x.beforeOpen) > 0 {
		m := newMail()
		x.moveBeforeOpen(c, m, c.logHead())
		c.shard().post(c, postDirect, 0, m)
	}
	if x.closing != nil {
		c.shard().post(c, postClose, ReasonDisconnected, x.closing)
		x.closing = nil
	}
	x.mu.Unlock()
	c.endHandover()
}
