package cluster

import (
	"time"

	"github.com/nats-io/nats.go"
)

// channelSet is the channels that a server receives or wants to receive: those that have connections, or had some
// within Config.Linger. With more than most of them, the server is to receive all channels instead. The mutex of its
// owner guards it.
type channelSet struct {
	most   int                     // Immutable.
	linger time.Duration           // Immutable.
	byName map[string]*wantChannel // At most most+1. Empty while all is set.
	all    bool                    // The server receives all channels.
}

// wantChannel is a channel of a channelSet.
type wantChannel struct {
	received  bool               // Messages of the channel arrive.
	wantedAt  time.Time          // When the channel was first asked for.
	idleSince time.Time          // When its last connection was seen to have ended; zero if it has connections.
	sub       *nats.Subscription // In the fast mode: nil before it is made.
}

func newChannelSet(most int, linger time.Duration) channelSet {
	return channelSet{most: most, linger: linger, byName: make(map[string]*wantChannel)}
}

// isReceived reports whether messages of a channel arrive.
func (s *channelSet) isReceived(channel string) bool {
	ch := s.byName[channel]
	return s.all || ch != nil && ch.received
}

// want adds a channel. It returns nil if too many channels are wanted already.
func (s *channelSet) want(channel string) *wantChannel {
	ch := s.byName[channel]
	if ch == nil && !s.tooMany() {
		ch = &wantChannel{wantedAt: time.Now()}
		s.byName[channel] = ch
	}
	return ch
}

// tooMany reports whether so many channels are wanted that the server is to receive all.
func (s *channelSet) tooMany() bool { return len(s.byName) > s.most }

// receiveAll notes that the server receives all channels. It returns those that were wanted one by one.
func (s *channelSet) receiveAll() map[string]*wantChannel {
	wanted := s.byName
	s.all, s.byName = true, make(map[string]*wantChannel)
	return wanted
}

// receiveOnly notes that the server, which received all channels, receives only these.
func (s *channelSet) receiveOnly(channels []string) {
	s.all = false
	for _, channel := range channels {
		s.byName[channel] = &wantChannel{received: true, wantedAt: time.Now()}
	}
}

// noteIdle notes which channels are in use. It reports whether one has been idle for Config.Linger.
func (s *channelSet) noteIdle(inUse func(channel string, ch *wantChannel) bool) (expired bool) {
	now := time.Now()
	for channel, ch := range s.byName {
		switch {
		case inUse(channel, ch):
			ch.idleSince = time.Time{}
		case ch.idleSince.IsZero():
			ch.idleSince = now
		default:
			expired = expired || now.Sub(ch.idleSince) >= s.linger
		}
	}
	return expired
}

// leaveIdle removes the channels that have been idle for Config.Linger and for which leave returns true.
func (s *channelSet) leaveIdle(leave func(channel string, ch *wantChannel) bool) {
	now := time.Now()
	for channel, ch := range s.byName {
		if !ch.idleSince.IsZero() && now.Sub(ch.idleSince) >= s.linger && leave(channel, ch) {
			delete(s.byName, channel)
		}
	}
}

// checkEvery returns how often channels are checked for connections.
func (cfg *Config) checkEvery() time.Duration { return max(cfg.Linger/4, 100*time.Millisecond) }
