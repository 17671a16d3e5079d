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

// TestForgetQuiet: Forget of a channel that was dropped already because it was empty.
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
		t.Errorf("since %s: no gap is said, want one", id)
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
		t.Errorf("since %s: no gap is said, want one", id)
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
		t.Errorf("since %s: no gap is said, want one", p.ID)
	}
}

// TestForgetFloor: interest.sweep forgets what an all-batch has begun beside it; join lets go of it.
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
	if !srv.Replica().ForgetChannel("z") { // sweep
		t.Fatal("in use")
	}
	srv.Replica().ReleaseChannel("z") // join
	if !gapTold(t, addr, "/z", "town-1") {
		t.Error("2 and 3 are missing, and no gap is said")
	}
}

// TestBeginBehindKept: BeginBehind, of an all-batch, when a channel that narrow kept is idle and has older messages.
func TestBeginBehindKept(t *testing.T) {
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
		t.Error("the hello's id is above that of what comes next: who is cut off here does not get 1 and 2")
	}
}
