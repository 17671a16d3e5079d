package cluster

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// maxFollowed is how many channels a server gets one by one; if there are more, or their subjects take up more than a
// quarter of what NATS takes, it gets all. NATS compares each with each when a consumer is made.
const maxFollowed = 256

// markerToken begins the tokens of subjects that are no channels', see Cluster.marker.
const markerToken = "=="

// interest is which channels a server gets of the stream: those that somebody is connected to, or was lately. One that is
// wanted gets its history from the stream beside what is read anyway, in a batch with others. At the first marker after that the
// reader stops, fills up what is missing to there, and begins behind it anew with the batch: each has all up to
// the marker then, so nothing is lost and nothing comes twice.
type interest struct {
	c     *Cluster
	wake  bell      // Something is wanted.
	taken chan bool // Capacity 1: the batch is, or it is to be filled again.

	begun map[string]bool // Owned by run, or by the reader while run waits for it: what has been begun and not joined.
	tries int             // Owned by run: how often that failed because the stream had dropped what was read.

	mu    sync.Mutex
	of    map[string]*followed // Guarded by mu: at most one more than maxFollowed. With all, it is empty.
	all   bool                 // Guarded by mu: there were too many.
	few   time.Time            // Guarded by mu: with all, since when there are few; zero if there are not.
	batch *batch               // Guarded by mu: what waits for a marker.
	leave bool                 // Guarded by mu: some are to be left.
	stale bool                 // Guarded by mu: channels are there that are not read any more.
}

// followed is a channel that the server gets, or will get soon.
type followed struct {
	joined bool      // The reader reads it.
	idle   time.Time // Since when nobody is connected to it; zero if somebody is.
}

// batch is channels that are filled together.
type batch struct {
	subjects []string // nil for all.
	channels []string // With all, those that were begun.
	begin    uint64   // Before it, nothing is there.
	upTo     uint64   // All between, and itself, is.
	next     uint64   // What the stream must not have dropped when it is taken up.
}

func (in *interest) init(c *Cluster) {
	in.c, in.wake, in.taken = c, newBell(), make(chan bool, 1)
	in.of, in.begun = make(map[string]*followed), make(map[string]bool)
}

// Follow is broadcast.Follower's.
func (c *Cluster) Follow(channel string) bool {
	in := &c.interest
	if !c.cfg.Channels {
		return true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	f := in.of[channel]
	if in.all || f != nil && f.joined {
		return true
	}
	if f == nil && len(in.of) <= maxFollowed { // Else all will be read anyway.
		in.of[channel] = &followed{}
	}
	in.look()
	return false
}

// Following is how many channels this server gets of the stream; a negative number stands for all.
func (c *Cluster) Following() int {
	c.interest.mu.Lock()
	defer c.interest.mu.Unlock()
	if !c.cfg.Channels || c.interest.all {
		return -1
	}
	return len(c.interest.of)
}

// look has run look at what is wanted. It does not block.
func (in *interest) look() {
	in.wake.ring()
}

// filters is what the reader reads: the subjects of what has joined, and markers; or nil for all.
func (in *interest) filters() []string {
	if !in.c.cfg.Channels {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.all {
		return nil
	}
	subjects := []string{in.c.marker()}
	for channel, f := range in.of {
		if f.joined {
			subjects = append(subjects, in.c.subject(channel))
		}
	}
	return subjects
}

// run fills what is wanted, and looks now and then for what is not any more.
func (in *interest) run() {
	c := in.c
	ticker := time.NewTicker(max(c.cfg.Linger/4, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-in.wake:
		case <-ticker.C:
			if in.tidy() {
				c.nudge()
			}
		case <-c.ctx.Done():
			return
		}
		if in.takeStale() {
			in.sweep()
		}
		for b := in.wanted(); b != nil && c.ctx.Err() == nil; b = in.wanted() {
			if !c.connected.Load() {
				c.pause()
				continue
			}
			err := c.fill(b)
			if err == nil && in.offer(b) {
				clear(in.begun)
				in.tries = 0
				continue
			}
			if err == nil || errors.Is(err, errTrimmed) {
				in.tries++
			}
			if c.ctx.Err() == nil && c.said.due() {
				c.cfg.Logger.Warn("channels wait for their history, which is read again", "err", err, "channels", len(b.channels))
			}
			c.pause()
		}
	}
}

// takeStale says whether channels are to be swept.
func (in *interest) takeStale() (stale bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	stale, in.stale = in.stale, false
	return stale
}

// wanted is what was asked for and has not joined, or nil.
func (in *interest) wanted() *batch {
	most := int(in.c.nc.MaxPayload() / 4) // It may wait for a write to NATS, and who holds the mutex holds workers.
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.all {
		return nil
	}
	if len(in.of) > maxFollowed {
		return &batch{}
	}
	b := &batch{subjects: []string{in.c.marker()}}
	bytes := 0
	for channel, f := range in.of {
		subject := in.c.subject(channel)
		bytes += len(subject) + len(`"",`)
		if !f.joined {
			b.channels = append(b.channels, channel)
			b.subjects = append(b.subjects, subject)
		}
	}
	switch {
	case len(b.channels) == 0:
		return nil
	case bytes > most:
		return &batch{}
	}
	return b
}

// offer has the reader take up a batch. It says no if it is to be filled again.
func (in *interest) offer(b *batch) bool {
	in.mu.Lock()
	in.batch = b
	in.mu.Unlock()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		in.c.nudge() // Again if it was lost.
		select {
		case taken := <-in.taken:
			return taken
		case <-ticker.C:
			in.tidy()
		case <-in.c.ctx.Done():
			return false
		}
	}
}

// tidy says whether there are channels to be left: that nobody was connected to for Config.Linger, or for so long few of all.
func (in *interest) tidy() bool {
	few := false
	if in.c.Following() < 0 {
		_, few = in.c.srv.InUse(maxFollowed / 2) // It may take long: without the mutex.
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	switch {
	case !in.all || !few:
		in.few = time.Time{}
	case in.few.IsZero():
		in.few = now
	default:
		in.leave = now.Sub(in.few) >= in.c.cfg.Linger
	}
	for channel, f := range in.of {
		info, _ := in.c.srv.Channel(channel)
		switch {
		case info.Connections > 0 || !f.joined:
			f.idle = time.Time{}
		case f.idle.IsZero():
			f.idle = now
		case now.Sub(f.idle) >= in.c.cfg.Linger:
			in.leave = true
		}
	}
	return in.leave
}

// due says whether the reader, which has got a marker, is to stop there.
func (in *interest) due(marker uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.leave || in.batch != nil && in.batch.upTo <= marker
}

// change takes up the batch that waits for a marker, which is the last that the reader has read. Called by the reader.
func (in *interest) change(marker uint64) error {
	in.mu.Lock()
	b := in.batch
	in.mu.Unlock()
	if b == nil || b.upTo > marker {
		return nil
	}
	if err := in.c.fillTo(b, marker); err != nil {
		return err
	}
	info, err := in.c.info(in.c.ctx)
	if err != nil {
		return err
	}
	whole := info.State.FirstSeq <= b.next
	if whole {
		in.join(b)
		in.c.srv.Followed()
	}
	in.mu.Lock()
	in.batch = nil
	in.mu.Unlock()
	in.taken <- whole
	return nil
}

// join has the reader read what is in a batch.
func (in *interest) join(b *batch) {
	var pinned []string
	in.mu.Lock()
	for _, channel := range b.channels {
		if f := in.of[channel]; f != nil {
			f.joined = true
		}
	}
	if b.subjects == nil {
		pinned = slices.Clone(b.channels)
		for channel := range in.of {
			pinned = append(pinned, channel)
		}
		in.all, in.few, in.of = true, time.Time{}, nil
	}
	in.mu.Unlock()
	for _, channel := range pinned {
		in.c.srv.LetGo(channel)
	}
}

// shed leaves what nobody has been connected to for long, or all but those in use, if they are few. Called by the reader,
// while it does not read. Who connects at this moment is seen by the server, or asks Follow afterwards.
func (in *interest) shed() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.leave {
		return
	}
	in.leave = false
	if in.all {
		in.narrow()
		return
	}
	for channel, f := range in.of {
		if !f.idle.IsZero() && time.Since(f.idle) >= in.c.cfg.Linger && in.c.srv.Forget(channel) {
			delete(in.of, channel)
		}
	}
}

// narrow has only those channels read from now on that are in use, if they are few still. The mutex must be held.
func (in *interest) narrow() {
	names, few := in.c.srv.InUse(maxFollowed / 2)
	if !few {
		return
	}
	in.all, in.of = false, make(map[string]*followed)
	for _, channel := range names {
		in.of[channel] = &followed{joined: true}
	}
	in.stale = true
	in.look()
}

// sweep forgets channels that are not read any more. Who connects to one before it is forgotten gets it anew. Called by run:
// nothing is being filled.
func (in *interest) sweep() {
	for _, channel := range in.c.srv.ChannelNames() {
		in.mu.Lock()
		if !in.all && in.of[channel] == nil {
			in.c.srv.Forget(channel)
		}
		in.mu.Unlock()
	}
}

// joined says whether the reader reads a channel.
func (in *interest) joined(channel string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	f := in.of[channel]
	return f != nil && f.joined
}

// begin begins a channel of a batch. Called by run.
func (in *interest) begin(channel string, b *batch) {
	in.begun[channel] = true
	in.c.srv.Begin(channel, b.begin-1)
}
