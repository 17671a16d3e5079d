package broadcast

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// followsAll is a Follower that follows every channel.
type followsAll struct{}

func (followsAll) Follow(string) bool { return true }

// helloID reads the greeting of a connection with crier.v1, and returns its ID.
func (c *client) helloID(t *testing.T) string {
	t.Helper()
	_, b, _ := c.readFrame()
	id, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "at: ")
	if !ok {
		t.Fatalf("got %q", b)
	}
	return id
}

// gapTold connects with an ID to resume from, and reports whether the client is told of a gap.
func gapTold(t *testing.T, addr, channel, since string) bool {
	t.Helper()
	c := dialIDs(t, addr, channel+"?since="+since)
	defer c.Close()
	c.helloID(t)
	c.sendFrame(true, ws.OpPing, nil)
	op, b, _ := c.readFrame()
	return op == ws.OpText && strings.HasPrefix(string(b), "gap: ")
}

// TestForgetQuiet: ForgetChannel of a channel that was dropped before because it was empty.
func TestForgetQuiet(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Replication: Replication{Follower: followsAll{}}})
	c := dialIDs(t, addr, "/x")
	id := c.helloID(t)
	c.Close()
	eventually(t, "nobody", func() bool { return srv.Stats().Open == 0 && srv.channel("x") == nil })
	if !srv.Replica().ForgetChannel("x") {
		t.Fatal("in use")
	}
	if !gapTold(t, addr, "/x", id) {
		t.Errorf("since %s: got no gap, want one", id)
	}
}

// TestForgetRoot: Forget of the channel without a name, with messages in it.
func TestForgetRoot(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Replication: Replication{Follower: followsAll{}}})
	if err := srv.Publish(t.Context(), Message{Text, []byte("m")}); err != nil {
		t.Fatal(err)
	}
	c := dialIDs(t, addr, "/")
	id := c.helloID(t)
	c.Close()
	eventually(t, "nobody", func() bool { return srv.Stats().Open == 0 && srv.Replica().ForgetChannel("") })
	if !gapTold(t, addr, "/", id) {
		t.Errorf("since %s: got no gap, want one", id)
	}
}

// TestForgetControl: Forget of a channel with messages.
func TestForgetControl(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Replication: Replication{Follower: followsAll{}}})
	c := dialIDs(t, addr, "/x")
	c.helloID(t)
	p, err := srv.PublishTo(t.Context(), "x", Message{Text, []byte("m")})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "nobody", func() bool { return srv.Stats().Open == 0 && srv.Replica().ForgetChannel("x") })
	if !gapTold(t, addr, "/x", p.ID) {
		t.Errorf("since %s: got no gap, want one", p.ID)
	}
}

// TestForgetFloor: a channel is forgotten between StartChannel and ReleaseChannel: clients are told that messages are
// missing.
func TestForgetFloor(t *testing.T) {
	p := &picky{gives: map[string]bool{"z": true}}
	srv, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true})
	srv.Replica().StartAfter(0)
	srv.Replica().StartChannel("z", 0)
	for id := uint64(1); id <= 3; id++ {
		if err := srv.Replica().Deliver(t.Context(), id, "z", Message{Text, []byte("m")}); err != nil {
			t.Fatal(err)
		}
	}
	srv.Replica().SetDelivered(3)
	if !srv.Replica().ForgetChannel("z") {
		t.Fatal("in use")
	}
	srv.Replica().ReleaseChannel("z")
	if !gapTold(t, addr, "/z", "town-1") {
		t.Error("got no gap for the missing messages 2 and 3")
	}
}

// TestStartAfterKept: StartAfter leaves a channel without connections alone that has older messages: its IDs stay in
// order.
func TestStartAfterKept(t *testing.T) {
	p := &picky{gives: map[string]bool{"z": true}}
	srv, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true})
	for id := uint64(1); id <= 3; id++ {
		if err := srv.Replica().Deliver(t.Context(), id, "z", Message{Text, []byte("m")}); err != nil {
			t.Fatal(err)
		}
	}
	srv.Replica().SetDelivered(3)
	srv.Replica().StartAfter(2)
	c := dialIDs(t, addr, "/z?last=10")
	id := c.helloID(t)
	_, b, _ := c.readFrame()
	t.Logf("hello %s, then %q", id, b)
	if id == "town-2" && strings.HasPrefix(string(b), "id: town-1") {
		t.Error("the ID of the hello is above that of the next message: a client that is cut off now would miss 1 and 2")
	}
}
