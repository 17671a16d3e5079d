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

// pullBytes is how much of the stream may wait here to be delivered, and fillBytes how much of the history.
const (
	pullBytes = 8 << 20
	fillBytes = 2 << 20

	pullMessages = 8192 // No more than these in any case.
)

// heartbeat is how often NATS says that a consumer is there if it has nothing for it. Without two of them it is made anew.
const heartbeat = time.Second

// consume delivers what is in the stream, until the Cluster is closed.
func (c *Cluster) consume() {
	stopped := uint64(0) // At a marker, to change what is read; or 0.
	for c.ctx.Err() == nil {
		if !c.connected.Load() {
			c.pause()
			continue
		}
		var err error
		c.interest.shed()
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
			c.rereads.Add(1)
			if err != errBack && c.saidReading.due() {
				c.cfg.Logger.Warn("reading the stream begins anew", "err", err, "behind", c.delivered.Load())
			}
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
	if err := c.whole(); errors.Is(err, ErrBehind) && c.cold() {
		c.beginAt(c.seen.State.FirstSeq)
	} else if err != nil {
		return 0, err
	}
	filters := c.interest.filters()
	current := time.Duration(0)
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	c.reading.Store(&cancel)
	err = c.read(ctx, filters, c.delivered.Load()+1, pullBytes, func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
		id, delivered := about.Sequence.Stream, c.delivered.Load()
		if id <= delivered {
			return false, nil
		}
		// What is between may be of other channels, or deleted, or this server was too late for it: slow, or cut off.
		if id > delivered+1 && (about.Sequence.Consumer == 1 || !c.surely()) {
			if err := c.whole(); err != nil && (!c.cold() || !errors.Is(err, ErrBehind)) {
				return false, err
			} else if err != nil {
				c.beginAt(id)
			}
		}
		if channel, ok := c.channel(msg.Subject()); ok { // If not, it is a marker, or somebody else has put it there.
			switch err := c.put(id, channel, msg); {
			case err == broadcast.ErrOrder:
				c.leftOut(id, msg, err)
			case err != nil:
				return false, err
			}
		}
		c.srv.Delivered(id)
		c.delivered.Store(id)
		c.deliveredAt.Store(about.Timestamp.UnixNano())
		c.pending.Store(about.NumPending)
		if id >= c.ready {
			c.warmed()
		}
		if msg.Subject() == c.marker() {
			if at, err := time.ParseDuration(string(msg.Data())); err == nil && at > current {
				current = at
				c.srv.Current(c.began.Add(at))
			}
			if c.interest.due(id) {
				stopped = id
			}
		}
		return stopped != 0, nil
	})
	return stopped, err
}

// read reads subjects of the stream, or with nil all of it, from a place on, until each says that it is done, or something is wrong.
// The ordered consumer sees by itself to being cut off, and to what got lost on the way. When ctx is done, the error is its cause.
func (c *Cluster) read(ctx context.Context, subjects []string, from uint64, bytes int, each func(*jetstream.MsgMetadata, jetstream.Msg) (done bool, err error)) (err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	consumer, err := c.js.OrderedConsumer(ctx, c.cfg.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		MaxResetAttempts: 3, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	// The answer to that may have come before the other servers of NATS know where the consumer is. To ask for messages then is
	// answered with 503, of which nats.go makes nothing until heartbeats are missing; this takes the same way first.
	if err := c.there(ctx, consumer); err != nil {
		return err
	}
	// With a bound in bytes alone, nats.go makes room for a million messages, 8 MiB, each time.
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, max(bytes, 2*int(c.nc.MaxPayload()))), jetstream.PullHeartbeat(heartbeat))
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

// there waits until NATS knows a consumer. To Info, unlike to others, nats.go gives no time of its own.
func (c *Cluster) there(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	_, err := consumer.Info(ctx)
	return err
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

// whole looks whether the stream has what comes next here. What somebody has deleted in the middle of it is not missed.
// Called by the reader.
func (c *Cluster) whole() error {
	at := time.Now()
	info, err := c.info(c.ctx)
	if err != nil {
		return err
	}
	c.seen, c.seenAt = info, at
	if next := c.delivered.Load() + 1; info.State.FirstSeq > next {
		return behind(next, info)
	}
	return nil
}

// cold says whether this server has not got yet what was there when it began: nobody is connected to it then.
func (c *Cluster) cold() bool {
	select {
	case <-c.warm:
		return false
	default:
		return true
	}
}

// beginAt begins anew with a message, as the stream has dropped one that this server was to begin with, or some behind that. It
// must be cold. Called by the reader.
func (c *Cluster) beginAt(first uint64) {
	for _, channel := range c.srv.ChannelNames() {
		c.srv.Forget(channel)
	}
	c.srv.BeginBehind(first - 1)
	c.srv.Delivered(first - 1)
	c.delivered.Store(first - 1)
}

// fastest is more than what is put into a stream in a second, in bytes.
const fastest = 256 << 20

// surely says whether what comes next here cannot have been dropped since whole was asked: it was far from that, and
// the time was too short. Called by the reader.
func (c *Cluster) surely() bool {
	if c.seen == nil || !c.far(c.seen) {
		return false
	}
	cfg, state, short := &c.seen.Config, &c.seen.State, time.Second
	if c.delivered.Load() < state.LastSeq-state.Msgs/16 && cfg.MaxBytes > 0 {
		short = 50 * time.Millisecond // What is between may be much less than its part of the messages.
	}
	if cfg.MaxAge > 0 {
		short = min(short, cfg.MaxAge/8)
	}
	if cfg.MaxBytes > 0 {
		short = min(short, time.Duration(float64(time.Second)*float64(state.Bytes/2)/fastest))
	}
	if cfg.MaxMsgs > 0 {
		short = min(short, time.Duration(state.Msgs/2)*time.Microsecond)
	}
	return time.Since(c.seenAt) < short
}

// behind is ErrBehind.
func behind(next uint64, info *jetstream.StreamInfo) error {
	return fmt.Errorf("%w: that is %d, and it begins with %d", ErrBehind, next, info.State.FirstSeq)
}

// marker is a subject of the stream that is no channel's, and this server's own. When it has read a message of it, it has
// got all before that: a consumer of a replica that lags does not know that there is more.
func (c *Cluster) marker() string { return c.cfg.Stream + "." + markerToken + c.out.prefix }

// now is what a marker says: when it was sent, after began.
func (c *Cluster) now() []byte { return []byte(time.Since(c.began).String()) }

// mark puts a marker into the stream, and returns its place.
func (c *Cluster) mark(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	ack, err := c.js.Publish(ctx, c.marker(), c.now())
	if err != nil {
		return 0, fmt.Errorf("a marker: %w", err)
	}
	return ack.Sequence, nil
}

// nudge has a marker be put into the stream. It may get lost.
func (c *Cluster) nudge() {
	if err := c.nc.Publish(c.marker(), c.now()); err != nil {
		c.cfg.Logger.Debug("no marker", "err", err)
	}
}

// put gives the server a message of the stream. What is none, somebody else has put there: it is left out.
// The errors are ErrOrder and ErrServerClosed of package broadcast, as they are, and what the context says.
func (c *Cluster) put(id uint64, channel string, msg jetstream.Msg) error {
	m := broadcast.Message{Kind: broadcast.Text, Payload: msg.Data()}
	if msg.Headers().Get(kindHeader) == "binary" {
		m.Kind = broadcast.Binary
	}
	err := c.srv.Deliver(c.ctx, id, channel, m)
	if err != nil && err != broadcast.ErrOrder && err != broadcast.ErrServerClosed && c.ctx.Err() == nil {
		c.leftOut(id, msg, err)
		return nil
	}
	return err
}

func (c *Cluster) leftOut(id uint64, msg jetstream.Msg, err error) {
	c.lacks.Add(1)
	if !c.said.due() {
		return
	}
	c.cfg.Logger.Warn("a message of the stream is left out", "id", id, "subject", msg.Subject(), "err", err)
}
