package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxFollowed is how many channels a server gets one by one; if there are more, it gets all. NATS compares each with
// each when a consumer is made.
const maxFollowed = 256

// markerToken begins the tokens of subjects that are no channels', see Cluster.marker.
const markerToken = "=="

// interest is which channels a server gets of the stream: those that somebody is connected to, or was lately. One that is
// wanted gets its history from the stream beside what is read anyway, in a batch with others. At the first marker after that the
// reader stops, fills up what is missing to there, and begins behind it anew with the batch: each has all up to
// the marker then, so nothing is lost and nothing comes twice.
type interest struct {
	c     *Cluster
	wake  chan struct{} // Capacity 1: something is wanted.
	taken chan struct{} // Capacity 1: the batch is.

	mu    sync.Mutex
	of    map[string]*followed // Guarded by mu.
	all   bool                 // Guarded by mu: there were too many. Then of is empty.
	few   time.Time            // Guarded by mu: with all, since when there are few; zero if there are not.
	batch *batch               // Guarded by mu: what waits for a marker.
	leave bool                 // Guarded by mu: some are to be left at a marker.
}

// followed is a channel that the server gets, or will get soon.
type followed struct {
	joined bool      // The reader reads it.
	idle   time.Time // Since when nobody is connected to it; zero if somebody is.
}

// batch is channels that are filled together.
type batch struct {
	channels map[string]bool // Whether it was begun. With all, those that were.
	all      bool            // All that are not read yet.
	upTo     uint64          // All before it is there, and itself.
	begin    uint64          // Before it, nothing is.
	subjects []string
}

func (in *interest) init(c *Cluster) {
	in.c, in.wake, in.taken = c, make(chan struct{}, 1), make(chan struct{}, 1)
	in.of = make(map[string]*followed)
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
	if f == nil {
		in.of[channel] = &followed{}
		signal(in.wake)
	}
	return false
}

// signal puts something into a channel of capacity 1, unless there is something.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
		for b := in.wanted(); b != nil && c.ctx.Err() == nil; b = in.wanted() {
			if err := c.fill(b); err != nil {
				c.cfg.Logger.Warn("channels wait for their history, which is read again", "err", err, "channels", len(b.channels))
				c.pause()
				continue
			}
			in.offer(b)
		}
	}
}

// wanted is what was asked for and has not joined, or nil.
func (in *interest) wanted() *batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.all {
		return nil
	}
	b := &batch{channels: make(map[string]bool)}
	for channel, f := range in.of {
		if !f.joined {
			b.channels[channel] = false
			b.subjects = append(b.subjects, in.c.subject(channel))
		}
	}
	switch {
	case len(b.channels) == 0:
		return nil
	case len(in.of) > maxFollowed:
		return &batch{channels: make(map[string]bool), all: true}
	}
	b.subjects = append(b.subjects, in.c.marker())
	return b
}

// offer has the reader take up a batch, and waits until it has.
func (in *interest) offer(b *batch) {
	in.mu.Lock()
	in.batch = b
	in.mu.Unlock()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		in.c.nudge() // Again if it was lost.
		select {
		case <-in.taken:
			return
		case <-ticker.C:
		case <-in.c.ctx.Done():
			return
		}
	}
}

// tidy says whether there are channels to be left: that nobody was connected to for Config.Linger, or for so long few of all.
func (in *interest) tidy() bool {
	_, few := in.c.srv.InUse(maxFollowed / 2)
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	switch {
	case !in.all:
	case !few:
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

// change takes up what waits for a marker, which is the last that the reader has read. Called by the reader.
func (in *interest) change(marker uint64) error {
	in.mu.Lock()
	b := in.batch
	if in.leave && in.all {
		in.narrow()
	} else if in.leave {
		in.forget()
	}
	in.mu.Unlock()
	if b == nil || b.upTo > marker {
		return nil
	}
	if err := in.c.fillTo(b, marker); err != nil {
		return err
	}
	in.mu.Lock()
	in.batch = nil
	for channel := range b.channels {
		if f := in.of[channel]; f != nil {
			f.joined = true
		}
	}
	var pinned []string
	if b.all {
		pinned = slices.AppendSeq(slices.Collect(maps.Keys(b.channels)), maps.Keys(in.of))
		in.all, in.of = true, nil
	}
	in.mu.Unlock()
	for _, channel := range pinned {
		in.c.srv.LetGo(channel)
	}
	in.c.srv.Followed()
	signal(in.taken)
	return nil
}

// forget leaves what nobody has been connected to for long. The mutex must be held: who connects at this moment is seen
// by Server.Forget, or asks Follow afterwards.
func (in *interest) forget() {
	in.leave = false
	for channel, f := range in.of {
		if !f.idle.IsZero() && time.Since(f.idle) >= in.c.cfg.Linger && in.c.srv.Forget(channel) {
			delete(in.of, channel)
		}
	}
}

// narrow has only those channels read from now on that are in use, if they are few still. The mutex must be held.
func (in *interest) narrow() {
	in.leave = false
	names, few := in.c.srv.InUse(maxFollowed / 2)
	if !few {
		return
	}
	in.all, in.few, in.of = false, time.Time{}, make(map[string]*followed)
	for _, channel := range names {
		in.of[channel] = &followed{joined: true}
	}
	in.c.running.Go(in.sweep)
}

// sweep forgets channels that are not read any more. Who connects to one before it is forgotten gets it anew.
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

// errTrimmed: history was dropped while it was read.
var errTrimmed = errors.New("the stream dropped what was read")

// fillTimeout is how long the history of a batch may take.
const fillTimeout = time.Minute

// fill gives the server the history of a batch, up to a marker, beside what the reader reads. What an earlier try left is forgotten.
func (c *Cluster) fill(b *batch) error {
	ctx, cancel := context.WithTimeout(c.ctx, fillTimeout)
	defer cancel()
	info, err := c.info(ctx)
	if err != nil {
		return err
	}
	marker, err := c.mark(ctx)
	if err != nil {
		return err
	}
	b.begin = min(c.historyBegin(&info.State), marker)
	b.upTo = b.begin - 1
	if b.all {
		c.srv.BeginBehind(b.upTo)
	}
	for channel := range b.channels {
		b.channels[channel] = true
		c.srv.Begin(channel, b.upTo)
	}
	if err := c.fillTo(b, marker); err != nil {
		return err
	}
	if info, err = c.info(ctx); err != nil {
		return err
	}
	if info.State.FirstSeq > b.begin {
		return errTrimmed
	}
	return nil
}

// fillTo gives the server what a batch has up to a marker, from where it is.
func (c *Cluster) fillTo(b *batch, marker uint64) error {
	if b.upTo >= marker {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, fillTimeout)
	defer cancel()
	err := c.read(ctx, b.subjects, b.upTo+1, fillBytes, func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
		id := about.Sequence.Stream
		if id >= marker {
			return true, nil
		}
		channel, ok := c.channel(msg.Subject())
		if !ok || b.all && c.interest.joined(channel) {
			return false, nil
		}
		if !b.channels[channel] {
			b.channels[channel] = true
			c.srv.Begin(channel, b.begin-1)
		}
		return false, c.put(ctx, id, channel, msg)
	})
	if err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	b.upTo = marker
	return nil
}
