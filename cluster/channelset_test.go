package cluster

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestChannelSetBound checks that a set asks for all channels once one too many is wanted, and stops growing there.
func TestChannelSetBound(t *testing.T) {
	s := newChannelSet(3, time.Minute)
	for i := range 10 {
		ch := s.want(fmt.Sprint(i))
		if got, want := ch != nil, i <= 3; got != want {
			t.Errorf("channel %d: got %t, want %t", i, got, want)
		}
		if got, want := s.tooMany(), i >= 3; got != want {
			t.Errorf("too many after channel %d: got %t, want %t", i, got, want)
		}
	}
	if s.want("0") == nil || s.isReceived("0") {
		t.Error("got no entry for a channel that is wanted, or one that is received")
	}
	if wanted := s.receiveAll(); len(wanted) != 4 || !s.isReceived("new") || len(s.byName) != 0 {
		t.Errorf("all received: got %d that were wanted, want 4", len(wanted))
	}
	if s.receiveOnly([]string{"a"}); !s.isReceived("a") || s.isReceived("b") {
		t.Error("got another set of channels, want only a")
	}
}

// TestChannelSetIdle checks when a channel without connections is left: after Linger, not before, not if the channel
// was in use in between, and not if the owner still needs it.
func TestChannelSetIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newChannelSet(10, time.Minute)
		s.want("quiet")
		s.want("used")
		s.want("needed")
		used := false
		look := func() bool {
			return s.noteIdle(func(channel string, _ *wantChannel) bool { return used && channel == "used" })
		}
		leave := func(channel string, _ *wantChannel) bool { return channel != "needed" }
		if look() {
			t.Error("at once: got an expired channel")
		}
		time.Sleep(59 * time.Second)
		if s.leaveIdle(leave); look() || len(s.byName) != 3 {
			t.Errorf("before Linger: got %d channels, want 3", len(s.byName))
		}
		used = true
		look()
		used = false
		look()
		time.Sleep(time.Second)
		if !look() {
			t.Error("after Linger: got no expired channel")
		}
		if s.leaveIdle(leave); s.byName["quiet"] != nil || s.byName["used"] == nil || s.byName["needed"] == nil {
			t.Errorf("got %v, want used and needed", s.byName)
		}
	})
}
