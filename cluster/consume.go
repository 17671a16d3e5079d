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
// what comes next. And it sees to it that who gets only a part of the stream does not take what was dropped for its own.
func (c *Cluster) watch() {
	timer := time.NewTimer(c.lookAfter(nil, nil, 0))
	defer timer.Stop()
	var was *jetstream.StreamInfo
	var at time.Time
	progress := progress{delivered: c.delivered.Load(), at: time.Now()}
	ahead, listen := c.ahead, (<-chan time.Time)(nil)
	for {
		select {
		case <-timer.C:
		case <-c.doubt:
		case <-ahead: // One marker is for all who ask in the meantime.
			c.nudge()
			ahead, listen = nil, time.After(100*time.Millisecond)
			continue
		case <-listen:
			ahead = c.ahead
			continue
		case <-c.ctx.Done():
			return
		}
		if c.unheard.Swap(false) { // It may be permitted again: nats.go subscribes anew only when it comes back.
			_ = c.nc.ForceReconnect()
		}
		now, delivered := time.Now(), c.delivered.Load()
		info, err := c.info(c.ctx)
		c.silent.Store(err != nil || !majority(info.Cluster))
		if err == nil && info.State.LastSeq < delivered { // Or who leads the stream is behind.
			if place, err := c.mark(c.ctx); err == nil {
				c.placed(place, delivered)
			}
		}
		if back := c.back.Load(); err == nil && back != nil {
			err = *back
		}
		if errors.Is(err, ErrReplaced) || errors.Is(err, ErrWentBack) {
			c.fail(err)
			return
		}
		if err == nil && c.delivered.Load() < info.State.LastSeq && !c.far(info) && c.interest.filters() != nil {
			c.nudge()
		}
		timer.Reset(c.lookAfter(was, info, now.Sub(at)))
		if err == nil {
			c.listens(&progress, info.State.LastSeq)
			was, at = info, now
		}
	}
}

// progress is how far the reader was when it was seen to get on last, or to have all there is.
type progress struct {
	delivered uint64
	at        time.Time
	asked     time.Time // When the first marker was put into the stream to see whether it gets on.
}

// markEvery is how often a server that gets what it should puts a marker there to see that. Those of others make it look as if
// there were something for it.
const markEvery = time.Minute

// listens notes whether the reader gets what is in the stream, up to last. A server that gets only a part of it has a marker of its own
// put there to see that.
func (c *Cluster) listens(p *progress, last uint64) {
	now, timeout := time.Now(), c.cfg.Timeout
	if is := c.delivered.Load(); is != p.delivered || is >= last {
		p.delivered, p.at = is, now
	}
	still := now.Sub(p.at)
	if c.interest.filters() == nil {
		c.deaf.Store(still > 3*timeout)
		return
	}
	waits := p.asked.After(p.at)
	c.deaf.Store(waits && now.Sub(p.asked) > 2*timeout)
	if still > timeout && (waits || now.Sub(p.asked) > markEvery) {
		if !waits {
			p.asked = now
		}
		c.nudge() // Again if it was lost.
	}
}

// lookAfter is when watch is to look again: if the stream drops messages, in an eighth of the time in which it drops as much as it
// has, going by what it has dropped between the last two looks. They may be nil.
func (c *Cluster) lookAfter(was, is *jetstream.StreamInfo, between time.Duration) time.Duration {
	after := c.cfg.Timeout
	if c.maxAge > 0 {
		after = min(after, c.maxAge/8)
	}
	if c.cfg.Channels && (is == nil || is.Config.MaxBytes > 0 || is.Config.MaxMsgs > 0) {
		after = min(after, time.Second)
	}
	if was != nil && is != nil && is.State.FirstSeq > was.State.FirstSeq {
		has, dropped := is.State.LastSeq+1-is.State.FirstSeq, is.State.FirstSeq-was.State.FirstSeq
		after = min(after, time.Duration(float64(between)*float64(has)/float64(dropped)/8))
	}
	return max(after, 100*time.Millisecond)
}

// majority says whether the leader of the stream has heard of most who have it within ten seconds, which is how long NATS
// itself takes to see that it has not. It answers all the same. of is nil of a server that is alone.
func majority(of *jetstream.ClusterInfo) bool {
	if of == nil || len(of.Replicas) == 0 {
		return true
	}
	there := 1
	for _, replica := range of.Replicas {
		if !replica.Offline && replica.Active < 10*time.Second {
			there++
		}
	}
	return there > (len(of.Replicas)+1)/2
}

// far says whether what comes next here is far from being dropped: not in the older half of what the stream keeps.
func (c *Cluster) far(info *jetstream.StreamInfo) bool {
	next, cfg, state := c.delivered.Load()+1, &info.Config, &info.State
	if cfg.MaxAge > 0 && time.Since(time.Unix(0, c.deliveredAt.Load())) > cfg.MaxAge/2 {
		return false
	}
	return cfg.MaxBytes <= 0 && cfg.MaxMsgs <= 0 && next >= state.FirstSeq || next >= state.FirstSeq+(state.LastSeq+1-state.FirstSeq)/2
}

// placed is told what place the stream gave to something that was sent when the reader was at another one.
func (c *Cluster) placed(place, delivered uint64) {
	if place > delivered {
		return
	}
	err := fmt.Errorf("%w: a message became its %d., and this server has got %d", ErrWentBack, place, delivered)
	c.back.CompareAndSwap(nil, &err)
	c.doubt.ring()
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

	pullMessages = 8192 // No more than these in any case.
)

// heartbeat is how often NATS says that a consumer is there if it has nothing for it. Without two of them it is made anew.
const heartbeat = time.Second

// consume delivers what is in the stream, until the Cluster is closed.
func (c *Cluster) consume() {
	stopped := uint64(0) // At a marker, to change what is read; or 0.
	for c.ctx.Err() == nil {
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
	if err := c.whole(); errors.Is(err, ErrBehind) && c.cold() {
		c.beginAt(c.seen.State.FirstSeq)
	} else if err != nil {
		return 0, err
	}
	filters := c.interest.filters()
	current := time.Duration(0)
	err = c.read(c.ctx, filters, c.delivered.Load()+1, pullBytes, func(about *jetstream.MsgMetadata, msg jetstream.Msg) (bool, error) {
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
