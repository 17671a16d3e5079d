package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go/jetstream"
)

// errTrimmed is an error of fillGroup, which is then tried again with less history.
var errTrimmed = errors.New("the stream dropped history while it was read")

// fillGroup delivers the history of a group to the server, up to a marker, beside the reader. It begins again with
// what an earlier try has left. Called by interest.run.
func (c *Ordered) fillGroup(g *group) error {
	in := &c.interest
	info, err := c.streamInfo(c.ctx)
	if err != nil {
		return err
	}
	marker, err := c.putMarker(c.ctx)
	if err != nil {
		return err
	}
	if g.begin, err = c.historyStart(c.ctx, g.subjects, info); err != nil {
		return err
	}
	// Each further try reads less, until the stream no longer drops messages before they are read.
	g.begin += (info.State.LastSeq + 1 - min(g.begin, info.State.LastSeq+1)) * uint64(min(in.tries, 8)) / 8
	g.begin = min(g.begin, marker)
	g.upTo = g.begin - 1
	if g.subjects == nil { // All channels: their names are not known before they are read.
		c.replica.StartAfter(g.upTo)
		g.channels = slices.Collect(maps.Keys(in.filling))
	}
	for _, channel := range g.channels {
		in.beginChannel(channel, g)
	}
	if err := c.fillUpTo(g, marker); err != nil {
		return err
	}
	if info, err = c.streamInfo(c.ctx); err != nil {
		return err
	}
	if info.State.FirstSeq > g.begin {
		return errTrimmed
	}
	g.next = g.upTo + 1
	return nil
}

// fillTimeout is how long reading a history may take.
const fillTimeout = 2 * time.Minute

// fillUpTo delivers the messages of a group from g.upTo to a marker. Called by interest.run, and by the reader while
// interest.run waits for it.
func (c *Ordered) fillUpTo(g *group, marker uint64) error {
	if g.upTo >= marker {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, fillTimeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	// At least the marker must arrive.
	stuck := time.AfterFunc(3*c.cfg.Timeout, func() { stop(errStuck) })
	defer stuck.Stop()
	from := g.upTo + 1
	each := func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
		seq := about.Sequence.Stream
		if seq >= marker {
			return true, nil
		}
		stuck.Reset(3 * c.cfg.Timeout)
		channel, ok := c.channel(msg.Subject())
		if !ok || broadcast.CheckChannel(channel) != nil || g.subjects == nil && c.interest.isRead(channel) {
			return false, nil
		}
		if !c.interest.filling[channel] {
			g.channels = append(g.channels, channel)
			c.interest.beginChannel(channel, g)
		}
		err := c.deliver(seq, channel, msg)
		if err != nil && err != broadcast.ErrOrder { // ErrOrder: an earlier try has delivered it.
			return false, err
		}
		return false, nil
	}
	if err := c.readStream(ctx, g.subjects, from, fillBytes, each); err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	g.upTo = marker
	return nil
}

// historyStart returns the sequence number at which the history of some subjects begins, or of all if subjects is nil:
// the newest messages of about Config.HistoryBytes that are not older than Config.HistoryAge.
func (c *Ordered) historyStart(ctx context.Context, subjects []string, info *jetstream.StreamInfo) (uint64, error) {
	state := &info.State
	end := state.LastSeq + 1
	if state.Msgs == 0 {
		return end, nil
	}
	begin := state.FirstSeq
	if c.cfg.HistoryAge > 0 {
		since := time.Now().Add(-c.cfg.HistoryAge)
		at, err := c.probeConsumer(ctx, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		})
		if err != nil {
			return 0, err
		}
		begin = max(begin, at.Delivered.Stream+1)
	}
	most := uint64(c.cfg.HistoryBytes) / max(1, state.Bytes/state.Msgs)
	enough := max(begin, end-min(end, most))
	if subjects == nil || enough == begin {
		return enough, nil
	}
	// Only some messages from there on have these subjects, so the history may begin earlier. Find where by bisection.
	fits := func(from uint64) (bool, error) {
		at, err := c.probeConsumer(ctx, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubjects: subjects,
		})
		return err == nil && at.NumPending <= most, err
	}
	for range 8 {
		switch ok, err := fits(begin); {
		case err != nil:
			return 0, err
		case ok:
			return begin, nil
		}
		middle := begin + (enough-begin)/2
		switch ok, err := fits(middle); {
		case err != nil:
			return 0, err
		case ok:
			enough = middle
		default:
			begin = middle + 1
		}
		if begin >= enough {
			break
		}
	}
	return enough, nil
}

// probeConsumer creates a consumer to learn where it begins and how many messages it has, and deletes it.
func (c *Ordered) probeConsumer(ctx context.Context, cfg jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas = jetstream.AckNonePolicy, true, 1
	cfg.InactiveThreshold = 10 * time.Second
	consumer, err := c.js.CreateConsumer(ctx, c.cfg.Stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("finding where the history begins: %w", err)
	}
	c.deleteConsumer(consumer)
	return consumer.CachedInfo(), nil
}
