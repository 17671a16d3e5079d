package broadcast

// Follower limits which channels a server receives from other servers: see Config.Follower. Its methods may be called
// from any goroutine.
type Follower interface {
	// Follow reports whether the server receives what is published in a channel, and continues to do so while a client is
	// connected to the channel. If not, the server begins to receive the channel, and Server.Followed is called then:
	// connections wait for that. Follow must not block.
	Follow(channel string) bool
}

// Begin begins a channel of a Follower. Nothing is known of the channel up to an ID; Deliver is given the messages after
// it. The channel exists until LetGo or Forget, even if it is empty. No client may be connected to it: Follow has
// returned false since the channel was forgotten.
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

// Forget drops a channel and its messages, unless a client is connected to it or about to be. It reports whether the
// channel was dropped. A client that resumes the channel later is told of a gap.
func (srv *Server) Forget(channel string) bool {
	chs := &srv.channels
	chs.mu.Lock()
	ch := chs.byName[channel]
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

// InUse returns, in no order, the channels that a client is connected to or about to be. It returns false if there are
// more than n.
func (srv *Server) InUse(n int) (names []string, ok bool) {
	chs := &srv.channels
	chs.mu.Lock()
	defer chs.mu.Unlock()
	for name, ch := range chs.byName {
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
