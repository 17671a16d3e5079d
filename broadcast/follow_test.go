package broadcast

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// picky is a Follower that gives a server what it is told to.
type picky struct {
	line
	mu    sync.Mutex
	asked []string        // Guarded by mu.
	gives map[string]bool // Guarded by mu.
}

func (p *picky) Follow(channel string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.asked, channel) {
		p.asked = append(p.asked, channel)
	}
	return p.gives[channel]
}

func (p *picky) has(channel string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.asked, channel)
}

func (p *picky) give(channel string, gives bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gives[channel] = gives
}

// TestFollower: a client of a channel that the server does not receive waits until the server does, and then gets the
// history, whose IDs are below those of other channels that the server has delivered.
func TestFollower(t *testing.T) {
	p := &picky{gives: make(map[string]bool)}
	srv, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true})
	srv.Replica().StartAfter(100)
	srv.Replica().SetDelivered(100)
	deliver := func(id uint64, channel, text string) {
		t.Helper()
		if err := srv.Replica().Deliver(t.Context(), id, channel, Message{Text, []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	p.give("sport", true)
	sport := dialIDs(t, addr, "/sport")
	sport.expectText("at: town-100\n")
	deliver(150, "sport", "goal")
	srv.Replica().SetDelivered(150)
	sport.expectText("id: town-150\ngoal")

	c := connect(t, addr)
	head := strings.Replace(handshakeHead, "GET / ", "GET /news?since=town-40 ", 1)
	c.send([]byte(strings.Replace(head, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: crier.v1\r\n\r\n", 1)))
	eventually(t, "the channel to be asked for", func() bool { return p.has("news") })
	if st := srv.Stats(); st.Open != 1 || st.Handshakes != 1 {
		t.Fatalf("got %d open and %d in a handshake, want 1 and 1", st.Open, st.Handshakes)
	}
	srv.Replica().StartChannel("news", 20)
	deliver(30, "news", "what a try left that failed")
	srv.Replica().StartChannel("news", 35)
	deliver(37, "news", "old")
	deliver(60, "news", "new")
	if err := srv.Replica().Deliver(t.Context(), 60, "news", Message{Text, []byte("again")}); !errors.Is(err, ErrOrder) {
		t.Errorf("got %v, want %v", err, ErrOrder)
	}
	p.give("news", true)
	srv.Replica().FollowChanged()
	c.expectUpgrade()
	c.expectText("at: town-37\n")
	c.expectText("id: town-60\nnew")
	late := dialIDs(t, addr, "/news?since=town-20")
	late.expectText("at: town-35\n")
	late.expectText("gap: town-20 town-35\n")

	if !srv.Replica().ForgetChannel("") { // The server keeps it for itself.
		t.Error("the channel without a name is in use")
	}
	// Nothing is forgotten that somebody is connected to.
	if names, ok := srv.Replica().ChannelsInUse(2); !ok || len(names) != 2 || srv.Replica().ForgetChannel("news") || srv.Replica().ForgetChannel("sport") {
		t.Errorf("got %q, %v; or a channel in use was forgotten", names, ok)
	}
	if names, ok := srv.Replica().ChannelsInUse(1); ok {
		t.Errorf("got %q, which are more than one", names)
	}
	c.Close()
	late.Close()
	eventually(t, "the channel to be forgotten", func() bool { return srv.Replica().ForgetChannel("news") })
	if _, ok := srv.Channel("news"); ok {
		t.Error("it is still there")
	}
	if names, ok := srv.Replica().ChannelsInUse(5); !ok || !slices.Equal(names, []string{"sport"}) {
		t.Errorf("got %q", names)
	}
}

// TestBegin: a channel that was begun is there until it is let go of, and its floor with it.
func TestBegin(t *testing.T) {
	p := &picky{gives: map[string]bool{"quiet": true, "other": true}}
	srv, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true})
	srv.Replica().SetDelivered(500)
	srv.Replica().StartChannel("quiet", 7)
	srv.Replica().StartAfter(400) // That is of those that were not begun.
	for channel, want := range map[string]string{"quiet": "at: town-7\n", "other": "at: town-400\n"} {
		for range 2 { // It has been left between.
			c := dialIDs(t, addr, "/"+channel)
			c.expectText(want)
			c.Close()
		}
	}
	names := func() []string {
		return slices.DeleteFunc(srv.Replica().ChannelNames(), func(name string) bool { return name == "" })
	}
	eventually(t, "the other one to be dropped", func() bool { return slices.Equal(names(), []string{"quiet"}) })
	srv.Replica().ReleaseChannel("quiet")
	srv.Replica().ReleaseChannel("quiet")
	eventually(t, "it to be dropped", func() bool { return len(names()) == 0 })
}

// TestFollowerFloorRaised: a cluster that stops reading all channels keeps channels that are read and not pinned. When
// it fills all channels again, it calls StartAfter with an ID that may be ahead of the reader: what the reader
// delivers then is ErrOrder, which put ignores.
func TestFollowerFloorRaised(t *testing.T) {
	p := &picky{gives: map[string]bool{"kept": true}}
	srv, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true})
	srv.Replica().StartAfter(100)
	srv.Replica().SetDelivered(100)
	c := dialIDs(t, addr, "/kept") // Narrow has kept it: joined, not pinned.
	c.expectText("at: town-100\n")
	srv.Replica().StartAfter(300) // fill of all: the history begins there, and the reader is at 150.
	if err := srv.Replica().Deliver(t.Context(), 200, "kept", Message{Text, []byte("lost")}); err != nil {
		t.Errorf("what the reader delivers: %v", err)
	}
}

// TestFollowerAuthorizeOften: who waits for its channel is asked for its token once.
func TestFollowerAuthorizeOften(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	p := &picky{gives: map[string]bool{}}
	_, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true, Authorize: func(*http.Request, string) (Grant, error) {
		asked.Add(1)
		return Grant{}, nil
	}})
	c := connect(t, addr)
	c.send([]byte(strings.Replace(handshakeHead, "GET / ", "GET /news ", 1)))
	time.Sleep(aheadTime + time.Second)
	if n := asked.Load(); n > 2 {
		t.Errorf("asked %d times", n)
	}
}
