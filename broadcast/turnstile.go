package broadcast

import "sync/atomic"

// turnstile lets one worker at a time own the reading side of a socket. It loses no event that arrives while a worker
// is leaving. It also has the few flags of a connection that other goroutines need, so that one load reads all of
// them:
//
//	bit 0  owned    a worker has the reading side, or a turn of it is queued
//	bit 1  again    an event arrived while it was owned
//	bit 2  hup      the peer has shut down its writing side: read until the end of the stream
//	bit 3  closed   only the owner of the reading side may use the fd, and closes it
//	bit 4  heard    bytes have arrived from the peer since the keep-alive last looked
//	bit 5  wantOut  the connection is blocked: the shard waits for a writable event
//	bit 6  spoke    the peer has published something: see Conn.spokeUpTo
//	bit 7  evicted  the peer's unfinished message must be dropped: see Conn.evict
//	bit 8  costly   the last turn was a long one, or the next will be: see queue
//	bit 9  mute     the peer may not publish: see Grant
//	bit 10 opened   opened was posted to the shard
//	bit 11 extended the connection has an extra
//	bit 12 leaving  the server has begun to close the connection: see limiter
//	bits 13 to 15   a connection's readPhase
//
// Atomic: owned and again are written by the loop (acquire) and the worker (relinquish); closed by the goroutine that
// ends the connection; heard is set by the worker and cleared by the shard; wantOut is set by the shard and cleared
// by the loop; spoke, costly and opened are written by the worker only; mute is set by the worker before the
// connection is open, by the shard, and by Conn.Close; extended is set and cleared by any goroutine, see extras;
// evicted is set by the workers of other connections and cleared by the worker; leaving is set by the shard.
type turnstile struct{ state atomic.Uint32 }

const (
	owned uint32 = 1 << iota
	again
	hup
	closed
	heard
	wantOut
	spoke
	evicted
	costly
	mute
	opened
	extended
	leaving
)

// readPhaseShift is the first bit of the readPhase, and readPhaseMask all of them.
const (
	readPhaseShift        = 13
	readPhaseMask  uint32 = 7 << readPhaseShift
)

// readPhase returns what the reading side expects of the peer.
func (r *reader) readPhase() readPhase {
	return readPhase(r.state.Load() & readPhaseMask >> readPhaseShift)
}

// setReadPhase changes what the reading side expects of the peer.
func (r *reader) setReadPhase(p readPhase) {
	for {
		s := r.state.Load() // Other goroutines may change flags meanwhile.
		if r.state.CompareAndSwap(s, s&^readPhaseMask|uint32(p)<<readPhaseShift) {
			return
		}
	}
}

// acquire records an event, and reports whether the caller now owns the reading side and must give it a turn. flags
// is hup or 0.
func (t *turnstile) acquire(flags uint32) bool {
	for {
		s := t.state.Load()
		switch {
		case s&closed != 0:
			return false
		case s&owned != 0:
			if t.state.CompareAndSwap(s, s|again|flags) {
				return false
			}
		case t.state.CompareAndSwap(s, s|owned|flags):
			return true
		}
	}
}

// relinquish gives up the reading side, which the caller owns. It returns false, and the caller still owns it, if an
// event arrived meanwhile or the connection was closed.
func (t *turnstile) relinquish() bool {
	for {
		s := t.state.Load()
		switch {
		case s&closed != 0:
			return false
		case s&again != 0:
			if t.state.CompareAndSwap(s, s&^again) {
				return false
			}
		case t.state.CompareAndSwap(s, s&^owned):
			return true
		}
	}
}

// has reports whether any of the flags is set.
func (t *turnstile) has(flag uint32) bool { return t.state.Load()&flag != 0 }

// takeFlag clears a flag, and reports whether it was set.
func (t *turnstile) takeFlag(flag uint32) bool {
	return t.has(flag) && t.state.And(^flag)&flag != 0
}

// set sets a flag, and reports whether it was set before.
func (t *turnstile) set(flag uint32) bool {
	return t.has(flag) || t.state.Or(flag)&flag != 0
}

// setCostly records whether the current turn is a long one.
func (t *turnstile) setCostly(long bool) {
	if long {
		t.set(costly)
	} else {
		t.takeFlag(costly)
	}
}

// isCostly implements task.
func (t *turnstile) isCostly() bool { return t.has(costly) }
