package cluster

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxRead is how many channels a server reads one by one. With more of them, or if their subjects take up more than a
// quarter of the largest NATS message, it reads all channels. NATS compares each subject of a consumer with every other
// one when it creates the consumer.
const maxRead = 256

// interest decides which channels the reader reads: those that have connections, or had some within Config.Linger.
//
// A wanted channel gets its history first, from a consumer of its own and in a group with others, while the reader
// continues. At the next marker the reader stops, reads what the group lacks up to that marker, and starts again after
// it with the group among its subjects. The reader and the group then both have every message up to the marker, so no
// message is lost or delivered twice.
type interest struct {
	c        *Ordered  // Immutable.
	wake     bell      // Rung when a channel is wanted.
	accepted chan bool // Capacity 1, from the reader to run: whether it took up the group, or run must fill it again.

	// Owned by run, and by the reader while run waits for accepted.
	filling map[string]bool // Channels that were begun and are not read yet.
	tries   int             // How often filling them failed because the stream dropped messages.

	mu        sync.Mutex
	channels  channelSet // Guarded by mu: those that the reader reads, or will read.
	fewSince  time.Time  // Guarded by mu: while all are read, since when few channels are in use; zero if many are.
	pending   *group     // Guarded by mu: filled, and waits for a marker.
	leaving   bool       // Guarded by mu: the reader should stop at a marker to leave some channels.
	hasUnread bool       // Guarded by mu: the server holds channels that are no longer read.
}

// group is channels whose history is read together. Owned as interest.filling is.
type group struct {
	subjects []string // nil for all channels.
	channels []string // Those that were begun.
	begin    uint64   // The first sequence number that was read.
	upTo     uint64   // All messages from begin to here were delivered.
	next     uint64   // The stream must still hold this message when the reader takes up the group.
}

func (in *interest) init(c *Ordered) {
	in.c, in.wake, in.accepted = c, newBell(), make(chan bool, 1)
	in.channels, in.filling = newChannelSet(maxRead, c.cfg.Linger), make(map[string]bool)
}

// Follow implements broadcast.Follower.
func (c *Ordered) Follow(channel string) bool {
	in := &c.interest
	if !c.cfg.Channels {
		return true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.channels.isReceived(channel) {
		return true
	}
	in.channels.want(channel)
	in.wake.ring()
	return false
}

// Following returns how many channels this server reads; -1 stands for all. It does not block.
func (c *Ordered) Following() int {
	c.interest.mu.Lock()
	defer c.interest.mu.Unlock()
	if !c.cfg.Channels || c.interest.channels.all {
		return -1
	}
	return len(c.interest.channels.byName)
}

// filters returns the subjects that the reader reads: those of its channels, and of its markers. nil stands for all.
func (in *interest) filters() []string {
	if !in.c.cfg.Channels {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.channels.all {
		return nil
	}
	subjects := []string{in.c.markerSubject()}
	for channel, ch := range in.channels.byName {
		if ch.received {
			subjects = append(subjects, in.c.subject(channel))
		}
	}
	return subjects
}

// run fills wanted channels, and looks for idle ones several times within Config.Linger, until the Ordered is closed.
func (in *interest) run() {
	c := in.c
	ticker := time.NewTicker(c.cfg.checkEvery())
	defer ticker.Stop()
	for {
		select {
		case <-in.wake:
		case <-ticker.C:
			if in.findIdle() {
				c.sendMarker()
			}
		case <-c.ctx.Done():
			return
		}
		if in.takeUnread() {
			in.forgetUnread()
		}
		for g := in.wantedGroup(); g != nil && c.ctx.Err() == nil; g = in.wantedGroup() {
			if !c.connected.Load() {
				c.pause()
				continue
			}
			err := c.fillGroup(g)
			if err == nil && in.handOver(g) {
				clear(in.filling)
				in.tries = 0
				continue
			}
			if err == nil || errors.Is(err, errTrimmed) {
				in.tries++
			}
			if c.ctx.Err() == nil && c.skippedLog.allow() {
				c.cfg.Logger.Warn("reading the history of channels again", "err", err, "channels", len(g.channels))
			}
			c.pause()
		}
	}
}

// takeUnread returns and resets hasUnread.
func (in *interest) takeUnread() (unread bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	unread, in.hasUnread = in.hasUnread, false
	return unread
}

// wantedGroup returns the channels that are wanted and not read, or nil if there are none.
func (in *interest) wantedGroup() *group {
	// Asked before locking: MaxPayload may wait for a write to NATS, and workers wait for the mutex.
	most := int(in.c.nc.MaxPayload() / 4)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.channels.all {
		return nil
	}
	if in.channels.tooMany() {
		return &group{}
	}
	g := &group{subjects: []string{in.c.markerSubject()}}
	bytes := 0
	for channel, ch := range in.channels.byName {
		subject := in.c.subject(channel)
		bytes += len(subject) + len(`"",`)
		if !ch.received {
			g.channels = append(g.channels, channel)
			g.subjects = append(g.subjects, subject)
		}
	}
	switch {
	case len(g.channels) == 0:
		return nil
	case bytes > most:
		return &group{}
	}
	return g
}

// handOver waits until the reader has taken up a group. It returns false if the group must be filled again, or the
// Ordered is closed.
func (in *interest) handOver(g *group) bool {
	in.mu.Lock()
	in.pending = g
	in.mu.Unlock()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		in.c.sendMarker() // Each second, as it may be lost.
		select {
		case accepted := <-in.accepted:
			return accepted
		case <-ticker.C:
			in.findIdle()
		case <-in.c.ctx.Done():
			return false
		}
	}
}

// findIdle reports whether there are channels to leave: they have had no connections for Config.Linger, or all channels
// are read and few have been in use for that long.
func (in *interest) findIdle() bool {
	few := false
	if in.c.Following() < 0 {
		_, few = in.c.replica.ChannelsInUse(maxRead / 2) // Called without the mutex, as it may take long.
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	switch {
	case !in.channels.all || !few:
		in.fewSince = time.Time{}
	case in.fewSince.IsZero():
		in.fewSince = now
	default:
		in.leaving = now.Sub(in.fewSince) >= in.c.cfg.Linger
	}
	expired := in.channels.noteIdle(func(channel string, ch *wantChannel) bool {
		return in.c.replica.Count(channel) > 0 || !ch.received
	})
	in.leaving = in.leaving || expired
	return in.leaving
}

// stopsAt reports whether the reader, which has read a marker, must stop there to change its channels.
func (in *interest) stopsAt(marker uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.leaving || in.pending != nil && in.pending.upTo <= marker
}

// takeUp adds the pending group to the channels that are read. marker is the last message that the reader has read.
// Called by the reader.
func (in *interest) takeUp(marker uint64) error {
	in.mu.Lock()
	g := in.pending
	in.mu.Unlock()
	if g == nil || g.upTo > marker {
		return nil
	}
	if err := in.c.fillUpTo(g, marker); err != nil {
		return err
	}
	info, err := in.c.streamInfo(in.c.ctx)
	if err != nil {
		return err
	}
	complete := info.State.FirstSeq <= g.next
	if complete {
		in.addChannels(g)
		in.c.replica.FollowChanged()
	}
	in.mu.Lock()
	in.pending = nil
	in.mu.Unlock()
	in.accepted <- complete
	return nil
}

// addChannels marks the channels of a group as read. Called by the reader.
func (in *interest) addChannels(g *group) {
	var begun []string
	in.mu.Lock()
	for _, channel := range g.channels {
		if ch := in.channels.byName[channel]; ch != nil {
			ch.received = true
		}
	}
	if g.subjects == nil {
		in.fewSince = time.Time{}
		begun = slices.AppendSeq(slices.Clone(g.channels), maps.Keys(in.channels.receiveAll()))
	}
	in.mu.Unlock()
	for _, channel := range begun {
		in.c.replica.ReleaseChannel(channel)
	}
}

// leaveIdle stops reading channels that have been idle for Config.Linger, or all but those in use. A client that
// connects meanwhile is seen by ForgetChannel or ChannelsInUse, or calls Follow afterwards. Called by the reader, while
// it does not read.
func (in *interest) leaveIdle() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.leaving {
		return
	}
	in.leaving = false
	if in.channels.all {
		in.leaveAllLocked()
		return
	}
	in.channels.leaveIdle(func(channel string, _ *wantChannel) bool { return in.c.replica.ForgetChannel(channel) })
}

// leaveAllLocked makes the reader read only channels that are in use, if they are still few. The mutex must be held.
func (in *interest) leaveAllLocked() {
	names, few := in.c.replica.ChannelsInUse(maxRead / 2)
	if !few {
		return
	}
	in.channels.receiveOnly(names)
	in.hasUnread = true
	in.wake.ring()
}

// forgetUnread makes the server forget channels that are no longer read. A client that connects to one before it is
// forgotten has it read again. Called by run, while no group is being filled.
func (in *interest) forgetUnread() {
	for _, channel := range in.c.replica.ChannelNames() {
		in.mu.Lock()
		if !in.channels.all && in.channels.byName[channel] == nil {
			in.c.replica.ForgetChannel(channel)
		}
		in.mu.Unlock()
	}
}

// isRead reports whether the reader reads a channel by its name.
func (in *interest) isRead(channel string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	ch := in.channels.byName[channel]
	return ch != nil && ch.received
}

// beginChannel makes the server begin a channel of a group without messages. Called as interest.filling is owned.
func (in *interest) beginChannel(channel string, g *group) {
	in.filling[channel] = true
	in.c.replica.StartChannel(channel, g.begin-1)
}
