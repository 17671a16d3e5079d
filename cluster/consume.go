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
// what comes next.
func (c *Cluster) watch() {
	ticker := time.NewTicker(c.cfg.Timeout)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return
		}
		if err := c.whole(); errors.Is(err, ErrReplaced) {
			c.fail(err)
			return
		}
	}
}

// fail says that this server cannot go on.
func (c *Cluster) fail(err error) {
	select {
	case c.failed <- err:
	default: // It was said.
	}
}

// pullBytes is how much of the stream may wait here to be delivered.
const pullBytes = 8 << 20

// consume delivers what is in the stream, until the Cluster is closed.
func (c *Cluster) consume() {
	for c.ctx.Err() == nil {
		err := c.consumeSome()
		if errors.Is(err, broadcast.ErrServerClosed) {
			return
		}
		if errors.Is(err, ErrBehind) || errors.Is(err, ErrReplaced) {
			c.fail(err)
			return
		}
		if c.ctx.Err() == nil {
			c.cfg.Logger.Warn("reading the stream begins anew", "err", err, "behind", c.delivered.Load())
			select {
			case <-time.After(250 * time.Millisecond):
			case <-c.ctx.Done():
			}
		}
	}
}

// consumeSome delivers until something is wrong. The ordered consumer sees by itself to being cut off, and to what
// got lost on the way.
func (c *Cluster) consumeSome() error {
	if err := c.whole(); err != nil {
		return err
	}
	consumer, err := c.js.OrderedConsumer(c.ctx, c.cfg.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: c.delivered.Load() + 1, MaxResetAttempts: 3,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(max(pullBytes, 2*int(c.nc.MaxPayload()))))
	if err != nil {
		return err
	}
	defer context.AfterFunc(c.ctx, messages.Stop)() // Next is deaf to its context while it begins anew.
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(c.ctx))
		if err != nil {
			return err
		}
		about, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := c.deliver(about.Sequence.Stream, msg); err != nil {
			return err
		}
		if about.Sequence.Stream >= c.ready || about.NumPending == 0 {
			c.warmed()
		}
	}
}

// whole looks whether the stream is the one that it was, and has what comes next here. What somebody has deleted in
// the middle of it is not missed.
func (c *Cluster) whole() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.cfg.Stream)
	if err != nil {
		return err
	}
	info, next := stream.CachedInfo(), c.delivered.Load()+1
	switch {
	case !info.Created.Equal(c.created): // Its newest message says nothing: who was the leader may not know it any more.
		return ErrReplaced
	case info.State.FirstSeq > next:
		return fmt.Errorf("%w: that is %d, and it begins with %d", ErrBehind, next, info.State.FirstSeq)
	}
	return nil
}

// deliver gives the server a message of the stream. What is none, somebody else has put there: it is left out.
func (c *Cluster) deliver(id uint64, msg jetstream.Msg) error {
	switch delivered := c.delivered.Load(); {
	case id <= delivered:
		return nil
	case id > delivered+1:
		if err := c.whole(); err != nil {
			return err
		}
	}
	m := broadcast.Message{Kind: broadcast.Text, Payload: msg.Data()}
	if msg.Headers().Get(kindHeader) == "binary" {
		m.Kind = broadcast.Binary
	}
	channel, ok := c.channel(msg.Subject())
	if ok {
		err := c.srv.Deliver(c.ctx, id, channel, m)
		if c.ctx.Err() != nil || err == broadcast.ErrServerClosed {
			return err
		}
		if err != nil {
			c.cfg.Logger.Warn("a message of the stream is left out", "id", id, "subject", msg.Subject(), "err", err)
		}
	}
	c.srv.Delivered(id)
	c.delivered.Store(id)
	return nil
}
