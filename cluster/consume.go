package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go/jetstream"
)

// kindHeader is there, with the value binary, on messages that are not text.
const kindHeader = "Crier-Kind"

// watch looks now and then whether the stream is the one that it was: the consumer would wait in another one for
// what comes next. And it sees to it that who gets only a part of the stream knows how far that is.
func (c *Cluster) watch() {
	ticker := time.NewTicker(c.cfg.Timeout)
	defer ticker.Stop()
	was := c.delivered.Load()
	for {
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return
		}
		info, err := c.info(c.ctx)
		filtered := c.interest.filters() != nil
		switch {
		case errors.Is(err, ErrReplaced):
			c.fail(err)
			return
		case err != nil:
			continue
		case filtered && info.State.FirstSeq > was+1: // What is between may have been of our channels.
			c.fail(behind(was+1, info))
			return
		case filtered && info.State.LastSeq > c.delivered.Load() && c.delivered.Load() == was:
			c.nudge()
		}
		was = c.delivered.Load()
	}
}

// fail says that this server cannot go on.
func (c *Cluster) fail(err error) {
	select {
	case c.failed <- err:
	default: // It was said.
	}
}

// pullBytes is how much of the stream may wait here to be delivered, and fillBytes how much of the history.
const (
	pullBytes = 8 << 20
	fillBytes = 2 << 20
)

// heartbeat is how often NATS says that a consumer is there if it has nothing for it. Without two of them it is made anew.
const heartbeat = time.Second

// consume delivers what is in the stream, until the Cluster is closed.
func (c *Cluster) consume() {
	stopped := uint64(0) // At a marker, to change what is read; or 0.
	for c.ctx.Err() == nil {
		var err error
		if stopped != 0 {
			err = c.interest.change(stopped)
		}
		if err == nil {
			stopped, err = c.consumeSome()
		}
		if errors.Is(err, broadcast.ErrServerClosed) {
			return
		}
		if errors.Is(err, ErrBehind) || errors.Is(err, ErrReplaced) {
			c.fail(err)
			return
		}
		if err != nil && c.ctx.Err() == nil {
			c.cfg.Logger.Warn("reading the stream begins anew", "err", err, "behind", c.delivered.Load())
			c.pause()
		}
	}
}

// pause waits for a moment before something is tried again.
func (c *Cluster) pause() {
	select {
	case <-time.After(250 * time.Millisecond):
	case <-c.ctx.Done():
	}
}

// consumeSome delivers until something is wrong, or at a marker what is read is to change.
func (c *Cluster) consumeSome() (stopped uint64, err error) {
	if err := c.whole(); err != nil {
		return 0, err
	}
	filters := c.interest.filters()
	err = c.read(c.ctx, filters, c.delivered.Load()+1, pullBytes, func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
		id, delivered := about.Sequence.Stream, c.delivered.Load()
		if id <= delivered {
			return false, nil
		}
		if filters == nil && id > delivered+1 || filters != nil && about.Sequence.Consumer == 1 {
			if err := c.whole(); err != nil {
				return false, err
			}
		}
		if channel, ok := c.channel(msg.Subject()); ok { // If not, it is a marker, or somebody else has put it there.
			if err := c.put(c.ctx, id, channel, msg); err != nil {
				return false, err
			}
		}
		c.srv.Delivered(id)
		c.delivered.Store(id)
		if id >= c.ready {
			c.warmed()
		}
		if msg.Subject() == c.marker() && c.interest.due(id) {
			stopped = id
		}
		return stopped != 0, nil
	})
	return stopped, err
}

// read reads subjects of the stream, or with nil all of it, from a place on, until each says that it is done, or something is wrong.
// The ordered consumer sees by itself to being cut off, and to what got lost on the way.
func (c *Cluster) read(ctx context.Context, subjects []string, from uint64, bytes int, each func(*jetstream.MsgMetadata, jetstream.Msg) (done bool, err error)) error {
	consumer, err := c.js.OrderedConsumer(ctx, c.cfg.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		MaxResetAttempts: 3, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	// The answer to that may have come before the other servers of NATS know where the consumer is. To ask for messages then is
	// answered with 503, of which nats.go makes nothing until heartbeats are missing; this takes the same way first.
	if _, err := consumer.Info(ctx); err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(max(bytes, 2*int(c.nc.MaxPayload()))), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, messages.Stop)() // Next is deaf to its context while it begins anew.
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		about, err := msg.Metadata()
		if err != nil {
			return err
		}
		if done, err := each(about, msg); done || err != nil {
			c.discard(consumer)
			return err
		}
	}
}

// discard has NATS drop a consumer now, rather than when it has been inactive for a minute. It does not wait for that.
func (c *Cluster) discard(consumer jetstream.Consumer) {
	name := consumer.CachedInfo().Name
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
		defer cancel()
		_ = c.js.DeleteConsumer(ctx, c.cfg.Stream, name)
	})
}

// info asks for the state of the stream. The error is ErrReplaced if it is another one than it was.
func (c *Cluster) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.cfg.Stream)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	if !info.Created.Equal(c.created) { // Its newest message says nothing: who was the leader may not know it any more.
		return nil, ErrReplaced
	}
	return info, nil
}

// whole looks whether the stream has what comes next here. What somebody has deleted in the middle of it is not missed.
func (c *Cluster) whole() error {
	info, err := c.info(c.ctx)
	if err != nil {
		return err
	}
	if next := c.delivered.Load() + 1; info.State.FirstSeq > next {
		return behind(next, info)
	}
	return nil
}

// behind is ErrBehind.
func behind(next uint64, info *jetstream.StreamInfo) error {
	return fmt.Errorf("%w: that is %d, and it begins with %d", ErrBehind, next, info.State.FirstSeq)
}

// marker is a subject of the stream that is no channel's, and this server's own. When it has read a message of it, it has
// got all before that: a consumer of a replica that lags does not know that there is more.
func (c *Cluster) marker() string { return c.cfg.Stream + "." + markerToken + c.out.prefix }

// mark puts a marker into the stream, and returns its place.
func (c *Cluster) mark(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	ack, err := c.js.Publish(ctx, c.marker(), nil)
	if err != nil {
		return 0, fmt.Errorf("a marker: %w", err)
	}
	return ack.Sequence, nil
}

// nudge has a marker be put into the stream. It may get lost.
func (c *Cluster) nudge() {
	if err := c.nc.Publish(c.marker(), nil); err != nil {
		c.cfg.Logger.Debug("no marker", "err", err)
	}
}

// put gives the server a message of the stream. What is none, somebody else has put there: it is left out.
func (c *Cluster) put(ctx context.Context, id uint64, channel string, msg jetstream.Msg) error {
	m := broadcast.Message{Kind: broadcast.Text, Payload: msg.Data()}
	if msg.Headers().Get(kindHeader) == "binary" {
		m.Kind = broadcast.Binary
	}
	switch err := c.srv.Deliver(ctx, id, channel, m); {
	case err == nil || errors.Is(err, broadcast.ErrOrder): // It was there already.
		return nil
	case ctx.Err() != nil || err == broadcast.ErrServerClosed:
		return err
	default:
		c.cfg.Logger.Warn("a message of the stream is left out", "id", id, "subject", msg.Subject(), "err", err)
		return nil
	}
}
