package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go/jetstream"
)

// kindHeader has the value "binary" in messages that are not text. Text messages do not have it.
const kindHeader = "Crier-Kind"

const (
	pullBytes    = 8 << 20 // How much of the stream NATS sends ahead to the reader.
	fillBytes    = 2 << 20 // The same for the history of a group of channels.
	pullMessages = 8192    // How many messages it sends ahead, in both cases.
)

// heartbeat is how often NATS reports that a consumer without messages exists. nats.go creates the consumer again when
// two of them are missing.
const heartbeat = time.Second

// consume is the reader: it delivers what the stream holds, until the Ordered is closed.
func (c *Ordered) consume() {
	stoppedAt := uint64(0) // A marker at which the channels are to change, or 0.
	for c.ctx.Err() == nil {
		if !c.connected.Load() {
			c.pause()
			continue
		}
		var err error
		c.interest.leaveIdle()
		if stoppedAt != 0 {
			err = c.interest.takeUp(stoppedAt)
		}
		if err == nil {
			stoppedAt, err = c.consumeOnce()
		}
		if errors.Is(err, broadcast.ErrServerClosed) {
			return
		}
		if errors.Is(err, ErrLapped) || errors.Is(err, ErrReplaced) {
			c.fail(err)
			return
		}
		if err != nil && c.ctx.Err() == nil {
			c.rereads.Add(1)
			if err != errReconnected && c.rereadLog.allow() {
				c.cfg.Logger.Warn("reading the stream again", "err", err, "after", c.delivered.Load())
			}
			c.pause()
		}
	}
}

// pause waits before something is tried again.
func (c *Ordered) pause() {
	select {
	case <-time.After(250 * time.Millisecond):
	case <-c.ctx.Done():
	}
}

// consumeOnce delivers messages with one consumer until an error, or until a marker at which the channels are to
// change. It returns the sequence number of that marker.
func (c *Ordered) consumeOnce() (stoppedAt uint64, err error) {
	if err := c.checkNotLapped(); errors.Is(err, ErrLapped) && c.readingHistory() {
		c.restartAt(c.lastInfo.State.FirstSeq)
	} else if err != nil {
		return 0, err
	}
	filters := c.interest.filters()
	newest := time.Duration(0) // Of the markers that were read.
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	c.cancelReading.Store(&cancel)
	from := c.delivered.Load() + 1
	err = c.readStream(ctx, filters, from, pullBytes, func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
		seq, delivered := about.Sequence.Stream, c.delivered.Load()
		if seq <= delivered {
			return false, nil
		}
		// The messages in between are of other channels or were deleted, or the stream dropped them before they
		// were read.
		if seq > delivered+1 && (about.Sequence.Consumer == 1 || !c.cannotBeLapped()) {
			if err := c.checkNotLapped(); err != nil && (!c.readingHistory() || !errors.Is(err, ErrLapped)) {
				return false, err
			} else if err != nil {
				c.restartAt(seq)
			}
		}
		if channel, ok := c.channel(msg.Subject()); ok { // Otherwise it is a marker, or of another program.
			switch err := c.deliver(seq, channel, msg); {
			case err == broadcast.ErrOrder:
				c.skip(seq, msg, err)
			case err != nil:
				return false, err
			}
		}
		c.replica.SetDelivered(seq)
		c.delivered.Store(seq)
		c.deliveredAt.Store(about.Timestamp.UnixNano())
		c.pending.Store(about.NumPending)
		if seq >= c.readySeq {
			c.markHistoryRead()
		}
		if msg.Subject() == c.markerSubject() {
			if at, err := time.ParseDuration(string(msg.Data())); err == nil && at > newest {
				newest = at
				c.replica.SetCurrent(c.opened.Add(at))
			}
			if c.interest.stopsAt(seq) {
				stoppedAt = seq
			}
		}
		return stoppedAt != 0, nil
	})
	return stoppedAt, err
}

// readStream calls each for the messages of the stream from a sequence number on: those with the given subjects, or all
// if subjects is nil. It returns when each returns true or an error, or when ctx is done, with the cause of ctx. The
// ordered consumer of nats.go recovers from lost messages and lost connections. bytes is how much NATS sends ahead.
func (c *Ordered) readStream(ctx context.Context, subjects []string, from uint64, bytes int,
	each func(*jetstream.MsgMetadata, jetstream.Msg) (done bool, err error)) (err error) {
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
	// NATS may answer before its other servers know the consumer. A pull request then gets 503, which nats.go ignores
	// until heartbeats are missing. The request for its info takes the same way, and waits.
	if err := c.awaitConsumer(ctx, consumer); err != nil {
		return err
	}
	// With a limit in bytes alone, nats.go would allocate a channel for a million messages, which is 8 MiB.
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, max(bytes, 2*int(c.nc.MaxPayload()))),
		jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, messages.Stop)() // Next ignores its context while it creates the consumer again.
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
			c.deleteConsumer(consumer)
			return err
		}
	}
}

// awaitConsumer waits until NATS knows a consumer. Info, unlike other requests of nats.go, has no timeout of its own.
func (c *Ordered) awaitConsumer(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	_, err := consumer.Info(ctx)
	return err
}

// deleteConsumer deletes a consumer, which NATS would keep until it has been inactive for a minute. It does not wait.
func (c *Ordered) deleteConsumer(consumer jetstream.Consumer) {
	name := consumer.CachedInfo().Name
	c.running.Go(func() { // Ends with its timeout or c.ctx; Close waits for it.
		ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
		defer cancel()
		_ = c.js.DeleteConsumer(ctx, c.cfg.Stream, name)
	})
}

// checkNotLapped asks NATS whether the stream still holds the reader's next message. It returns ErrLapped if not.
// Messages that were deleted in the middle of the stream do not count. Called by the reader.
func (c *Ordered) checkNotLapped() error {
	at := time.Now()
	info, err := c.streamInfo(c.ctx)
	if err != nil {
		return err
	}
	c.lastInfo, c.lastInfoAt = info, at
	if next := c.delivered.Load() + 1; info.State.FirstSeq > next {
		return fmt.Errorf("%w: the next is %d, and the stream begins with %d", ErrLapped, next, info.State.FirstSeq)
	}
	return nil
}

// restartAt makes the reader's history begin with a message, because the stream has dropped an earlier one. Nobody is
// connected, as the history is still being read. Called by the reader.
func (c *Ordered) restartAt(first uint64) {
	for _, channel := range c.replica.ChannelNames() {
		c.replica.ForgetChannel(channel)
	}
	c.replica.StartAfter(first - 1)
	c.replica.SetDelivered(first - 1)
	c.delivered.Store(first - 1)
}

// maxStreamRate is more than a stream stores in a second, in bytes.
const maxStreamRate = 256 << 20

// cannotBeLapped reports whether the stream cannot have dropped the reader's next message since checkNotLapped last
// asked: the message was far from the tail, and too little time has passed. Called by the reader.
func (c *Ordered) cannotBeLapped() bool {
	if c.lastInfo == nil || !c.isFarFromTail(c.lastInfo) {
		return false
	}
	cfg, state, safe := &c.lastInfo.Config, &c.lastInfo.State, time.Second
	if c.delivered.Load() < state.LastSeq-state.Msgs/16 && cfg.MaxBytes > 0 {
		safe = 50 * time.Millisecond // The messages before the next one may be much smaller than the average.
	}
	if cfg.MaxAge > 0 {
		safe = min(safe, cfg.MaxAge/8)
	}
	if cfg.MaxBytes > 0 {
		safe = min(safe, time.Duration(float64(time.Second)*float64(state.Bytes/2)/maxStreamRate))
	}
	if cfg.MaxMsgs > 0 {
		safe = min(safe, time.Duration(state.Msgs/2)*time.Microsecond)
	}
	return time.Since(c.lastInfoAt) < safe
}

// deliver passes a message of the stream to the server. It skips one that the server does not accept, which another
// program must have published. It returns broadcast.ErrOrder and broadcast.ErrServerClosed unwrapped, or the error of
// c.ctx.
func (c *Ordered) deliver(seq uint64, channel string, msg jetstream.Msg) error {
	m := broadcast.Message{Kind: broadcast.Text, Payload: msg.Data()}
	if msg.Headers().Get(kindHeader) == "binary" {
		m.Kind = broadcast.Binary
	}
	err := c.replica.Deliver(c.ctx, seq, channel, m)
	if err != nil && err != broadcast.ErrOrder && err != broadcast.ErrServerClosed && c.ctx.Err() == nil {
		c.skip(seq, msg, err)
		return nil
	}
	return err
}

// skip counts and logs a message of the stream that is not delivered.
func (c *Ordered) skip(seq uint64, msg jetstream.Msg, err error) {
	c.skipped.Add(1)
	if c.skippedLog.allow() {
		c.cfg.Logger.Warn("skipped a message of the stream", "id", seq, "subject", msg.Subject(), "err", err)
	}
}
