package broadcast

import "sync/atomic"

// turnstile lets one worker at a time own the reading side of a socket, and
// loses no event between "worker leaves" and "event comes". It also carries
// the few flags that other goroutines need of a connection, so that a look at
// all of them is one load:
//
//	bit 0  owned    a worker has the reading side, or it is queued for one
//	bit 1  again    an event came while it was owned
//	bit 2  hup      the peer has shut down: read on until the end of stream
//	bit 3  closed   nobody may use the fd any more but the owner, who closes it
//	bit 4  heard    bytes came from the peer since the keep-alive last looked
//	bit 5  wantOut  the shard waits for room in the send buffer
//	bit 6  spoke    the peer published something: see Conn.spokeUpTo
//	bit 7  evicted  what is unfinished of it must go: see Conn.evict
//	bit 8  costly   its last turn was a long one, or its next will be: see queue
//	bit 9  mute     it may not publish: see Grant
//	bit 10 opened   the shard was told that it is open
//	bit 11 extended it has an extra
//	bit 12 leaving  the server has begun to close it: see limiter
//
// owned and again are written by the loop (enter) and the worker (leave);
// closed by whoever ends the connection; heard is set by the worker and taken
// by the shard; wantOut is set by the shard and taken by the loop; spoke and
// costly are the worker's alone; mute is set before it is open, by the shard, and by Conn.Close;
// opened is set by the worker; extended is set by any goroutine, see extras; evicted is set by other workers and
// taken by it; leaving is set by the shard.
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

// acquire notes an event and says whether the caller now owns the reading side
// and must see that it gets a turn. flags is hup or 0.
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

// relinquish gives the reading side up unless an event came meanwhile. It returns
// false if so, or if the connection was closed: the caller owns it still.
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

// has says whether a flag is set.
func (t *turnstile) has(flag uint32) bool { return t.state.Load()&flag != 0 }

// takeFlag clears a flag and says whether it was set.
func (t *turnstile) takeFlag(flag uint32) bool {
	return t.has(flag) && t.state.And(^flag)&flag != 0
}

// set sets a flag and says whether it was set before.
func (t *turnstile) set(flag uint32) bool {
	return t.has(flag) || t.state.Or(flag)&flag != 0
}

// setCostly notes whether this turn is a long one.
func (t *turnstile) setCostly(long bool) {
	if long {
		t.set(costly)
	} else {
		t.takeFlag(costly)
	}
}

// isCostly is a task's: see there.
func (t *turnstile) isCostly() bool { return t.has(costly) }
