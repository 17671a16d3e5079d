package broadcast

// Follower gives a server only those channels of others that it asks for: see Config.Follower. Its methods may be
// called from any goroutine.
type Follower interface {
	// Follow says whether the server gets what is published in a channel, from now on and as long as somebody is
	// connected to it. If not, it does so from some time on, and Server.Followed is called: connections wait for that.
	// It must not block.
	Follow(channel string) bool
}

// Begin begins a channel of a Follower: nothing is known of it up to an id, and what is behind is given to
// Deliver. It is there until it is let go of, or forgotten, even if there is nothing in it. Nobody is connected to it:
// Follow has said no since it was forgotten.
func (srv *Server) Begin(channel string, id uint64) {
	ch := srv.enter(channel)
	if !srv.channels.pin(ch, true) { // If so, it stays in use.
		defer srv.leave(ch)
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		e.log.Clear()
	}
	ch.tidyIDs()
	ch.ids.floor = id
}

// LetGo ends what Begin began: the channel is there as long as there is something in it, as others are.
func (srv *Server) LetGo(channel string) {
	ch := srv.enter(channel)
	if srv.channels.pin(ch, false) {
		srv.leave(ch)
	}
	srv.leave(ch)
}

// Forget drops a channel and its messages, unless somebody is connected to it or about to be: it says whether it did.
// Who comes back to it is told of a gap.
func (srv *Server) Forget(channel string) bool {
	chs := &srv.channels
	chs.mu.Lock()
	ch := chs.of[channel]
	if ch != nil && srv.inUse(ch) {
		chs.mu.Unlock()
		return false
	}
	if ch == nil {
		srv.numbers.Add(1) // One that no message has, so that none of before is up to date.
		chs.mu.Unlock()
		return true
	}
	if ch.pinned {
		ch.pinned = false
		ch.users--
	}
	if ch != srv.root {
		delete(chs.of, channel)
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

// InUse returns the channels that somebody is connected to, or is about to be, in no order. It says no if there are
// more than n.
func (srv *Server) InUse(n int) (names []string, ok bool) {
	chs := &srv.channels
	chs.mu.Lock()
	defer chs.mu.Unlock()
	for name, ch := range chs.of {
		if !srv.inUse(ch) {
			continue
		}
		if len(names) == n {
			return nil, false
		}
		names = append(names, name)
	}
	return names, true
}

// inUse says whether somebody is connected to a channel, or is about to be. The mutex of channels must be held.
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

// pin keeps a channel from being dropped, or not any more. It says no if that is so already.
func (chs *channels) pin(ch *channel, pinned bool) bool {
	chs.mu.Lock()
	defer chs.mu.Unlock()
	if ch.pinned == pinned {
		return false
	}
	ch.pinned = pinned
	return true
}

// Followed says that Follow may say yes now to what it said no to before. It does not block.
func (srv *Server) Followed() { srv.early.goOn(srv) }
