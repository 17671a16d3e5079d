package cluster

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// maxSubscribed is how many channels a Fast subscribes to one by one; if there are more, it has all, as long as it runs.
const maxSubscribed = 4096

// patience is how long the first connection to a channel waits for NATS: without that it is served all the same, and hears
// other servers when they can be heard.
const patience = 500 * time.Millisecond

// waited is longer than anybody waits for a channel.
const waited = 5 * time.Second

// When NATS has refused a subscription: how long a new one must not be refused to be taken for one that is not, and when
// it is tried again.
const (
	refusedWithin = time.Second
	refusedAgain  = 5 * time.Second
)

// subscriptions is which channels a Fast gets: those that somebody is connected to, or was lately.
type subscriptions struct {
	f       *Fast
	wake    bell        // Something is wanted.
	refused bell        // NATS has not taken a subscription, or has ended it.
	deaf    atomic.Bool // It was, and not all is well again.
	log     seldom

	busy atomic.Pointer[subscribed] // Written by takes, with mu, and taken: the channel that is being delivered to; read by leave.

	mu   sync.Mutex
	one  bool                   // Guarded by mu: all channels are wanted with one subscription, as there are too many, or NATS has refused some.
	of   map[string]*subscribed // Guarded by mu. With all, it is empty.
	all  *nats.Subscription     // Guarded by mu: to all channels; nil if there is none.
	lost uint64                 // Guarded by mu: what NATS' client has dropped of subscriptions that have ended.
}

// subscribed is a channel that the server gets, or will get soon.
type subscribed struct {
	sub   *nats.Subscription // nil before it is made.
	asked time.Time          // When that was wanted first.
	ready bool               // NATS knows of it.
	idle  time.Time          // Since when nobody is connected to it; zero if somebody is.
}

func (s *subscriptions) init(f *Fast) {
	s.f, s.wake, s.refused, s.of = f, newBell(), newBell(), make(map[string]*subscribed)
}

// begin subscribes to what is wanted from the start: without Config.Channels, to all. With them it only finds out whether it
// may be.
func (s *subscriptions) begin() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.f.cfg.Channels {
		s.all, err = s.f.nc.ChanSubscribe(s.f.prefix+"*", s.f.in.arrived)
		return err
	}
	probe, err := s.f.nc.Subscribe(s.f.prefix+"*", func(*nats.Msg) {})
	if err == nil {
		err = probe.Unsubscribe()
	}
	return err
}

// hear is told what NATS says beside its answers. It does not block.
func (s *subscriptions) hear(err error) {
	if s.refuses(err) {
		s.refused.ring()
	}
}

// refuses says whether NATS does not take a subscription to channels, or has ended it: there are too many, or it may not be, as was
// decided just now, perhaps.
func (s *subscriptions) refuses(err error) bool {
	if errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return true
	}
	_, rest, ok := strings.Cut(err.Error(), `Subscription to "`+s.f.prefix)
	token, _, _ := strings.Cut(rest, `"`)
	return ok && errors.Is(err, nats.ErrPermissionViolation) && !strings.Contains(token, ".") // Else it is presence's.
}

// Follow is broadcast.Follower's.
func (f *Fast) Follow(channel string) bool {
	s := &f.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of[channel]
	if s.all != nil || one != nil && one.ready {
		return true
	}
	if one == nil && len(s.of) <= maxSubscribed { // Else all are wanted anyway.
		one = &subscribed{asked: time.Now()}
		s.of[channel] = one
	}
	s.look()
	return one == nil || time.Since(one.asked) >= patience || !f.connected.Load()
}

// look has run look at what is wanted. It does not block.
func (s *subscriptions) look() {
	s.wake.ring()
}

// takes says whether a message of a channel, which came by a subscription, is to be delivered: if so, the channel is not left before
// taken is called. One that was left, and is wanted again, has lost what came between two subscriptions: of the older one
// nothing may come behind that, without a gap. Called by inbound.run.
func (s *subscriptions) takes(channel string, by *nats.Subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all != nil || s.one {
		return true
	}
	one := s.of[channel]
	if one == nil || one.sub != by {
		return false
	}
	s.busy.Store(one)
	return true
}

// taken ends what takes began.
func (s *subscriptions) taken() { s.busy.Store(nil) }

// run subscribes to what is wanted, and ends what is not any more.
func (s *subscriptions) run() {
	ticker := time.NewTicker(max(s.f.cfg.Linger/4, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-s.wake:
			if err := s.subscribe(); err != nil && s.f.ctx.Err() == nil {
				if s.log.due() {
					s.f.cfg.Logger.Warn("subscribing is tried again", "err", err)
				}
				time.Sleep(patience)
				s.look()
			}
		case <-s.refused:
			s.again()
		case <-ticker.C:
			for _, sub := range s.leave() {
				_ = sub.Unsubscribe() // If there is no connection, it is not made again by the next one.
			}
		case <-s.f.ctx.Done():
			return
		}
	}
}

// again has all channels with one subscription, in the place of those that there are, as NATS has refused some of them:
// until that is not refused.
func (s *subscriptions) again() {
	s.deaf.Store(true)
	for s.f.ctx.Err() == nil {
		for _, old := range s.none() {
			_ = old.Unsubscribe()
		}
		err := s.subscribe()
		s.pause(refusedWithin)
		select {
		case <-s.refused:
		default:
			if err == nil {
				s.deaf.Store(false)
				return
			}
		}
		s.pause(refusedAgain)
	}
}

// pause waits for so long, or until the end.
func (s *subscriptions) pause(wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-s.f.ctx.Done():
	}
}

// none is the subscriptions that there are, which are to end: one to all channels is wanted in their place.
func (s *subscriptions) none() (old []*nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.one = true
	for _, one := range s.of {
		if one.sub != nil {
			old = s.end(old, one.sub)
		}
		one.sub, one.ready = nil, false
	}
	if s.all != nil {
		old = s.end(old, s.all)
		s.all = nil
	}
	return old
}

// subscribe subscribes to what is wanted, and waits until NATS knows.
func (s *subscriptions) subscribe() error {
	wanted, all := s.wanted()
	var err error
	var sub *nats.Subscription
	if all {
		if sub, err = s.f.nc.ChanSubscribe(s.f.prefix+"*", s.f.in.arrived); err != nil {
			return err
		}
	}
	for _, channel := range wanted {
		one, err := s.f.nc.ChanSubscribe(subjectIn(s.f.prefix, channel), s.f.in.arrived)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.of[channel].sub = one
		s.mu.Unlock()
	}
	if err := s.f.nc.FlushTimeout(s.f.cfg.Timeout); err != nil {
		if sub != nil {
			_ = sub.Unsubscribe()
		}
		return err
	}
	for _, old := range s.joined(sub) {
		_ = old.Unsubscribe()
	}
	s.f.in.srv.Followed()
	return nil
}

// wanted is which channels have no subscription yet, or that all are to have one.
func (s *subscriptions) wanted() (channels []string, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.one = s.one || len(s.of) > maxSubscribed
	if s.all != nil || s.one {
		return nil, s.all == nil
	}
	for channel, one := range s.of {
		if one.sub == nil {
			channels = append(channels, channel)
		}
	}
	return channels, false
}

// joined says that NATS knows of all subscriptions. With one to all channels, it returns those that are not needed any more.
func (s *subscriptions) joined(all *nats.Subscription) (old []*nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.of {
		one.ready = one.sub != nil
		if all != nil && one.ready {
			old = s.end(old, one.sub)
		}
	}
	if all != nil {
		s.all = all
		clear(s.of)
	}
	return old
}

// leave is the subscriptions to channels that nobody was connected to for Config.Linger. Who connects at this moment is seen by
// Server.Forget, or asks Follow afterwards.
func (s *subscriptions) leave() (old []*nats.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for channel, one := range s.of {
		info, _ := s.f.in.srv.Channel(channel)
		switch {
		case info.Connections > 0 || !one.ready && now.Sub(one.asked) < waited:
			one.idle = time.Time{}
		case one.idle.IsZero():
			one.idle = now
		case now.Sub(one.idle) >= s.f.cfg.Linger && s.busy.Load() != one && s.f.in.srv.Forget(channel):
			delete(s.of, channel)
			if one.sub != nil {
				old = s.end(old, one.sub)
			}
		}
	}
	return old
}

// end adds a subscription to those that are to end. The mutex must be held.
func (s *subscriptions) end(old []*nats.Subscription, sub *nats.Subscription) []*nats.Subscription {
	if n, err := sub.Dropped(); err == nil {
		s.lost += uint64(n)
	}
	return append(old, sub)
}

// dropped is what NATS' client has dropped.
func (s *subscriptions) dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	for _, one := range s.of {
		if one.sub != nil {
			if lost, err := one.sub.Dropped(); err == nil {
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
