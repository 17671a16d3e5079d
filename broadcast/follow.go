package broadcast

import (
	"maps"
	"slices"
)

// Follower limits which channels a server receives from other servers: see Replication.Follower. Its methods may be
// called from any goroutine.
type Follower interface {
	// Follow reports whether the server receives the channel, and will do so while clients are connected to it. If
	// Follow returns false, it starts receiving the channel, and Replica.FollowChanged is called once the channel is
	// received; connections to the channel wait until then. Follow must not block.
	Follow(channel string) bool
}

// FollowChanged wakes the connections that wait because Follow has returned false for their channels: Follow is called
// for them again.
func (r *Replica) FollowChanged() { r.ahead.recheck(r.srv) }

// StartChannel starts a channel of a Follower. Nothing is known of the channel up to an ID; Deliver is given the
// messages after it. The channel exists until ReleaseChannel or ForgetChannel, even if it is empty. No client may be
// connected to it: Follow has returned false since the channel was forgotten.
func (r *Replica) StartChannel(channel string, id uint64) {
	ch := r.srv.enter(channel)
	if !r.srv.channels.pin(ch, true) { // A channel that is newly pinned keeps this use, until ReleaseChannel.
		defer r.srv.leave(ch)
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		e.log.Clear()
	}
	ch.tidyIDs()
	ch.ids.floor = id
}

// ReleaseChannel undoes StartChannel: the channel is dropped once it is empty and has no connections, as others are.
func (r *Replica) ReleaseChannel(channel string) {
	ch := r.srv.enter(channel)
	if r.srv.channels.pin(ch, false) {
		r.srv.leave(ch)
	}
	r.srv.leave(ch)
}

// ForgetChannel drops a channel and its messages, unless a client is connected to it or about to be. It reports whether
// the channel was dropped. A client that resumes the channel later is told of a gap.
func (r *Replica) ForgetChannel(channel string) bool {
	srv, chs := r.srv, &r.srv.channels
	chs.mu.Lock()
	ch := chs.byName[channel]
	if ch != nil && srv.inUse(ch) {
		chs.mu.Unlock()
		return false
	}
	if ch == nil {
		srv.numbers.Add(1) // A number without a message, so that a client with the newest ID is told of a gap, too.
		chs.mu.Unlock()
		return true
	}
	if ch.pinned {
		ch.pinned = false
		ch.users--
	}
	if ch != srv.root {
		delete(chs.byName, channel)
	}
	frames := ch.plain.log.Frames()
	srv.numbers.Store(max(srv.numbers.Load(), frames+1))
	if ch.ids != nil {
		chs.floor = max(chs.floor, ch.idAt(frames))
	}
	chs.mu.Unlock()
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		e.log.Clear()
		e.log.Skip()
	}
	if ch.ids != nil {
		ch.tidyIDs()
	}
	return true
}

// ChannelNames returns the names of all channels there are, in no order.
func (r *Replica) ChannelNames() []string {
	r.srv.channels.mu.Lock()
	defer r.srv.channels.mu.Unlock()
	return slices.AppendSeq(make([]string, 0, len(r.srv.channels.byName)), maps.Keys(r.srv.channels.byName))
}

// ChannelsInUse returns, in no order, the channels that a client is connected to or about to be. It returns false if
// there are more than n.
func (r *Replica) ChannelsInUse(n int) (names []string, ok bool) {
	chs := &r.srv.channels
	chs.mu.Lock()
	defer chs.mu.Unlock()
	for name, ch := range chs.byName {
		if !r.srv.inUse(ch) {
			continue
		}
		if len(names) == n {
			return nil, false
		}
		names = append(names, name)
	}
	return names, true
}

// inUse reports whether a client is connected to a channel or about to be. The mutex of channels must be held.
func (srv *Server) inUse(ch *channel) bool {
	kept := int32(0)
	if ch.pinned {
		kept++
	}
	if ch == srv.root {
		kept++
	}
	return ch.users > kept
}

// pin keeps a channel from being dropped, or allows it again. It reports whether that was not so before.
func (chs *channels) pin(ch *channel, pinned bool) bool {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	if ch.pinned == pinned {
		return false
	}
	ch.pinned = pinned
	return true
}
