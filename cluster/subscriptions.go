package cluster

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// maxSubscribed is how many channels a Fast subscribes to one by one. With more of them it subscribes to all, until
// it is closed.
const maxSubscribed = 4096

// joinWait is how long the first connection to a channel waits for NATS. Afterwards it is served, and receives messages
// of other servers as soon as NATS has the subscription.
const joinWait = 500 * time.Millisecond

// maxJoinWait is longer than any connection waits for a channel.
const maxJoinWait = 5 * time.Second

const (
	refusalWindow = time.Second     // How soon NATS would report that it refuses a new subscription.
	refusalRetry  = 5 * time.Second // How often a refused subscription is tried again.
)

// subscriptions decides which channels a Fast receives: those that have connections, or had some within Config.Linger.
type subscriptions struct {
	f       *Fast // Immutable.
	wake    bell  // Rung when a channel is wanted.
	refusal bell  // Rung by noteError: NATS has refused or ended a subscription.
	log     oncePerSecond

	refused atomic.Bool // Written by run, read by Ready: NATS refuses a subscription.

	// Atomic: the channel that inbound.run is delivering to, or nil. Written by beginDelivery, with mu held, and by
	// endDelivery; read by leaveIdle.
	delivering atomic.Pointer[wantChannel]

	mu       sync.Mutex
	channels channelSet         // Guarded by mu.
	wantAll  bool               // Guarded by mu: one subscription to all channels is wanted.
	all      *nats.Subscription // Guarded by mu: that one, or nil before it is made.
	lost     uint64             // Guarded by mu: what NATS' client dropped of subscriptions that have ended.
}

func (s *subscriptions) init(f *Fast) {
	s.f, s.wake, s.refusal = f, newBell(), newBell()
	s.channels = newChannelSet(maxSubscribed, f.cfg.Linger)
}

// start subscribes to all channels if Config.Channels is not set. Otherwise it subscribes and unsubscribes at once:
// NATS reports a denial of that.
func (s *subscriptions) start() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.f.cfg.Channels {
		if s.all, err = s.f.nc.ChanSubscribe(s.f.prefix+"*", s.f.inbound.arrived); err == nil {
			s.channels.receiveAll()
		}
		return err
	}
	probe, err := s.f.nc.Subscribe(s.f.prefix+"*", func(*nats.Msg) {})
	if err == nil {
		err = probe.Unsubscribe()
	}
	return err
}

// noteError receives the errors that NATS reports outside of its answers. It does not block.
func (s *subscriptions) noteError(err error) {
	if s.isRefusal(err) {
		s.refusal.ring()
	}
}

// isRefusal reports whether NATS refuses or has ended a subscription to channels: there are too many, or
// permissions deny it, which may have been changed just now.
func (s *subscriptions) isRefusal(err error) bool {
	if errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return true
	}
	_, rest, ok := strings.Cut(err.Error(), `Subscription to "`+s.f.prefix)
	token, _, _ := strings.Cut(rest, `"`)
	ofPresence := strings.Contains(token, ".") // Tokens of channels have no dot.
	return ok && !ofPresence && errors.Is(err, nats.ErrPermissionViolation)
}

// Follow implements broadcast.Follower. It returns true after joinWait even if NATS does not have the subscription yet.
func (f *Fast) Follow(channel string) bool {
	s := &f.subscriptions
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels.isReceived(channel) {
		return true
	}
	ch := s.channels.want(channel)
	s.wake.ring()
	return ch == nil || time.Since(ch.wantedAt) >= joinWait || !f.connected.Load()
}

// beginDelivery reports whether a message of a channel, from a subscription, is to be delivered. If so, the channel
// is not left before endDelivery is called. A channel that was left and is wanted again has lost messages in
// between, so no message of its old subscription may follow without a gap. Called by inbound.run.
func (s *subscriptions) beginDelivery(channel string, from *nats.Subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels.all || s.wantAll {
		return true
	}
	ch := s.channels.byName[channel]
	if ch == nil || ch.sub != from {
		return false
	}
	s.delivering.Store(ch)
	return true
}

// endDelivery must be called after beginDelivery has returned true.
func (s *subscriptions) endDelivery() { s.delivering.Store(nil) }

// run makes wanted subscriptions and ends unused ones, until the Fast is closed.
func (s *subscriptions) run() {
	ticker := time.NewTicker(s.f.cfg.checkEvery())
	defer ticker.Stop()
	for {
		select {
		case <-s.wake:
			if err := s.subscribe(); err != nil && s.f.ctx.Err() == nil {
				if s.log.allow() {
					s.f.cfg.Logger.Warn("subscribing again", "err", err)
				}
				time.Sleep(joinWait)
				s.wake.ring()
			}
		case <-s.refusal:
			s.replaceRefused()
		case <-ticker.C:
			for _, sub := range s.leaveIdle() {
				_ = sub.Unsubscribe() // Without a connection, nats.go does not make it again when it reconnects.
			}
		case <-s.f.ctx.Done():
			return
		}
	}
}

// replaceRefused replaces all subscriptions by one to all channels, because NATS has refused some of them. It tries
// until NATS accepts that one.
func (s *subscriptions) replaceRefused() {
	s.refused.Store(true)
	for s.f.ctx.Err() == nil {
		for _, old := range s.takeAll() {
			_ = old.Unsubscribe()
		}
		err := s.subscribe()
		s.pause(refusalWindow)
		select {
		case <-s.refusal:
		default:
			if err == nil {
				s.refused.Store(false)
				return
			}
		}
		s.pause(refusalRetry)
	}
}

// pause waits, or returns early when the Fast is closed.
func (s *subscriptions) pause(wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-s.f.ctx.Done():
	}
}

// takeAll removes and returns all subscriptions, for the caller to end. One to all channels is wanted in their place.
func (s *subscriptions) takeAll() (old []*nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wantAll = true
	for _, ch := range s.channels.byName {
		if ch.sub != nil {
			old = s.retireLocked(old, ch.sub)
		}
		ch.sub, ch.received = nil, false
	}
	if s.all != nil {
		old = s.retireLocked(old, s.all)
		s.all, s.channels.all = nil, false
	}
	return old
}

// subscribe makes the wanted subscriptions, and waits until NATS has them.
func (s *subscriptions) subscribe() error {
	wanted, wantAll := s.wanted()
	var err error
	var all *nats.Subscription
	if wantAll {
		if all, err = s.f.nc.ChanSubscribe(s.f.prefix+"*", s.f.inbound.arrived); err != nil {
			return err
		}
	}
	for _, channel := range wanted {
		sub, err := s.f.nc.ChanSubscribe(subjectIn(s.f.prefix, channel), s.f.inbound.arrived)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.channels.byName[channel].sub = sub
		s.mu.Unlock()
	}
	if err := s.f.nc.FlushTimeout(s.f.cfg.Timeout); err != nil {
		if all != nil {
			_ = all.Unsubscribe()
		}
		return err
	}
	for _, old := range s.markReady(all) {
		_ = old.Unsubscribe()
	}
	s.f.inbound.replica.FollowChanged()
	return nil
}

// wanted returns the channels without a subscription, or true if one subscription to all channels is wanted.
func (s *subscriptions) wanted() (channels []string, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wantAll = s.wantAll || s.channels.tooMany()
	if s.channels.all || s.wantAll {
		return nil, !s.channels.all
	}
	for channel, ch := range s.channels.byName {
		if ch.sub == nil {
			channels = append(channels, channel)
		}
	}
	return channels, false
}

// markReady notes that NATS has all subscriptions. If all is set, it is the one to all channels, and markReady removes
// and returns the others, for the caller to end.
func (s *subscriptions) markReady(all *nats.Subscription) (old []*nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.channels.byName {
		ch.received = ch.sub != nil
		if all != nil && ch.received {
			old = s.retireLocked(old, ch.sub)
		}
	}
	if all != nil {
		s.all = all
		s.channels.receiveAll()
	}
	return old
}

// leaveIdle removes channels that have had no connections for Config.Linger, and returns their subscriptions, for the
// caller to end. A client that connects meanwhile is seen by Replica.ForgetChannel, or calls Follow afterwards.
func (s *subscriptions) leaveIdle() (old []*nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels.noteIdle(func(channel string, ch *wantChannel) bool {
		return s.f.inbound.replica.Count(channel) > 0 || !ch.received && time.Since(ch.wantedAt) < maxJoinWait
	})
	s.channels.leaveIdle(func(channel string, ch *wantChannel) bool {
		if s.delivering.Load() == ch || !s.f.inbound.replica.ForgetChannel(channel) {
			return false
		}
		if ch.sub != nil {
			old = s.retireLocked(old, ch.sub)
		}
		return true
	})
	return old
}

// retireLocked appends to old a subscription that is to end, and keeps the count of what NATS' client dropped of
// it. The mutex must be held.
func (s *subscriptions) retireLocked(old []*nats.Subscription, sub *nats.Subscription) []*nats.Subscription {
	if n, err := sub.Dropped(); err == nil {
		s.lost += uint64(n)
	}
	return append(old, sub)
}

// dropped returns how many messages NATS' client has dropped.
func (s *subscriptions) dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	for _, ch := range s.channels.byName {
		if ch.sub != nil {
			if lost, err := ch.sub.Dropped(); err == nil {
				n += uint64(lost)
			}
		}
	}
	if s.all != nil {
		if lost, err := s.all.Dropped(); err == nil {
			n += uint64(lost)
		}
	}
	return n
}
