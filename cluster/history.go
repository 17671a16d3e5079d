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

// errTrimmed: history was dropped while it was read.
var errTrimmed = errors.New("the stream dropped what was read")

// fill gives the server the history of a batch, up to a marker, beside what the reader reads. What an earlier try left is begun
// anew. Called by interest.run.
func (c *Cluster) fill(b *batch) error {
	in := &c.interest
	info, err := c.info(c.ctx)
	if err != nil {
		return err
	}
	marker, err := c.mark(c.ctx)
	if err != nil {
		return err
	}
	if b.begin, err = c.historyFrom(c.ctx, b.subjects, info); err != nil {
		return err
	}
	// What is dropped while it is read is less each time.
	b.begin += (info.State.LastSeq + 1 - min(b.begin, info.State.LastSeq+1)) * uint64(min(in.tries, 8)) / 8
	b.begin = min(b.begin, marker)
	b.upTo = b.begin - 1
	if b.subjects == nil {
		c.srv.BeginBehind(b.upTo)
	}
	if b.subjects == nil { // Of others it is known which they are.
		b.channels = slices.Collect(maps.Keys(in.begun))
	}
	for _, channel := range b.channels {
		in.begin(channel, b)
	}
	if err := c.fillTo(b, marker); err != nil {
		return err
	}
	if info, err = c.info(c.ctx); err != nil {
		return err
	}
	if info.State.FirstSeq > b.begin {
		return errTrimmed
	}
	b.next = b.upTo + 1
	return nil
}

// fillTimeout is how long a history may take.
const fillTimeout = 2 * time.Minute

// fillTo gives the server what a batch has up to a marker, from where it is. Called by run, and by the reader while run waits.
func (c *Cluster) fillTo(b *batch, marker uint64) error {
	if b.upTo >= marker {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, fillTimeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	stuck := time.AfterFunc(3*c.cfg.Timeout, func() { stop(errStuck) }) // There is something at any rate: the marker.
	defer stuck.Stop()
	err := c.read(ctx, b.subjects, b.upTo+1, fillBytes, func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
		id := about.Sequence.Stream
		if id >= marker {
			return true, nil
		}
		stuck.Reset(3 * c.cfg.Timeout)
		channel, ok := c.channel(msg.Subject())
		if !ok || broadcast.CheckChannel(channel) != nil || b.subjects == nil && c.interest.joined(channel) {
			return false, nil
		}
		if !c.interest.begun[channel] {
			b.channels = append(b.channels, channel)
			c.interest.begin(channel, b)
		}
		if err := c.put(id, channel, msg); err != nil && err != broadcast.ErrOrder { // It was there already.
			return false, err
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	b.upTo = marker
	return nil
}

// historyFrom is where in the stream the history begins of which the server keeps something: the newest
// Config.HistoryBytes of some subjects, or with nil of all, that are not older than Config.HistoryAge.
func (c *Cluster) historyFrom(ctx context.Context, subjects []string, info *jetstream.StreamInfo) (uint64, error) {
	state := &info.State
	end := state.LastSeq + 1
	if state.Msgs == 0 {
		return end, nil
	}
	begin := state.FirstSeq
	if c.cfg.HistoryAge > 0 {
		since := time.Now().Add(-c.cfg.HistoryAge)
		at, err := c.probe(ctx, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since})
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
	// Of these subjects it may be much more of the stream.
	few := func(from uint64) (bool, error) {
		at, err := c.probe(ctx, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubjects: subjects})
		return err == nil && at.NumPending <= most, err
	}
	for range 8 {
		switch ok, err := few(begin); {
		case err != nil:
			return 0, err
		case ok:
			return begin, nil
		}
		middle := begin + (enough-begin)/2
		switch ok, err := few(middle); {
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

// probe makes a consumer to see where it begins and what it has before it.
func (c *Cluster) probe(ctx context.Context, cfg jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = jetstream.AckNonePolicy, true, 1, 10*time.Second
	consumer, err := c.js.CreateConsumer(ctx, c.cfg.Stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("looking where the history begins: %w", err)
	}
	c.discard(consumer)
	return consumer.CachedInfo(), nil
}
