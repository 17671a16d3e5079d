package broadcast

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRetainTotal: the oldest messages of all channels are dropped for new ones.
func TestRetainTotal(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, RetainBytes: 1 << 20, RetainTotalBytes: 1 << 20, Shards: 1})
	m := Message{Binary, make([]byte, 1000)}
	for i := range 10_000 {
		ch := srv.enter(fmt.Sprint(i % 5000))
		srv.appendToLogs(ch, m, 0)
		srv.leave(ch)
		if got := srv.forms[0].log.Space.Bytes(); got > 1<<20+4096 {
			t.Fatalf("after %d messages: %d bytes held", i, got)
		}
	}
	srv.tidy()
	n := len(srv.channels.all())
	if n < 300 || n > 1100 {
		t.Errorf("got %d channels, want as many as 1 MiB holds", n)
	}
}

// TestEvictedWhileBlocked: what a blocked connection still needs is kept no longer than the log keeps it, although
// nobody publishes in that channel any longer.
func TestEvictedWhileBlocked(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, RetainBytes: 1 << 20, RetainTotalBytes: 1 << 20, Shards: 1})
	s := srv.shards[0]
	k := srv.cfg.sockets.(*sink)
	k.room = func(int, int) (int, unix.Errno) { return 0, unix.EAGAIN }
	blocked := newConn(firstFD, s.lobby)
	blocked.phase = phaseOpen
	srv.join(blocked, "quiet", srv.forms[0], position{})
	srv.open.Add(1)
	f := blocked.feed()
	f.addConn(blocked)
	publish := func(channel string) {
		ch := srv.enter(channel)
		srv.appendToLogs(ch, Message{Binary, make([]byte, 10_000)}, 0)
		ch.wake(0)
		srv.leave(ch)
		s.round()
	}
	publish("quiet")
	if blocked.out&outBlocked == 0 || f.view == nil {
		t.Fatal("it is not blocked: the test shows nothing")
	}
	s.tick()
	if blocked.phase != phaseOpen {
		t.Fatal("it was closed while the log held what it is to get")
	}
	for range 200 {
		publish("loud")
	}
	s.tick()
	s.releaseViews()
	if blocked.phase != phaseClosing || blocked.why != ReasonSlow {
		t.Errorf("got phase %d, reason %v, want it to be closed as slow", blocked.phase, blocked.why)
	}
	s.finish(blocked, ReasonSlow)
	s.releaseViews()
	if s.tick(); f.view != nil || len(s.keptViews) != 0 {
		t.Errorf("the view is still kept: %d feeds keep theirs", len(s.keptViews))
	}
}

// TestFull: when shards have too many bytes to offer in all channels together, publishers wait although no channel is
// far behind.
func TestFull(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, RetainBytes: 1 << 20, RetainTotalBytes: 1 << 20, Shards: 1})
	s := srv.shards[0]
	var chs []*channel
	for i := range 40 {
		c := newConn(firstFD+i, s.lobby)
		c.phase = phaseOpen
		srv.join(c, fmt.Sprint(i), srv.forms[0], position{})
		c.feed().addConn(c)
		chs = append(chs, c.channel())
	}
	n := 0
	for ; !chs[n%40].behind.Load(); n++ {
		srv.appendToLogs(chs[n%40], Message{Binary, make([]byte, 10_000)}, 0)
		if n > 1000 {
			t.Fatal("nobody is held, whatever is not offered")
		}
	}
	if n < 50 {
		t.Fatalf("behind after %d messages: the total is not what held them", n)
	}
	last := chs[n%40]
	done := make(chan error)
	go func() {
		_, err := srv.PublishTo(context.Background(), last.name, Message{Text, []byte("x")})
		done <- err
	}()
	eventually(t, "the publisher to wait", func() bool { return len(srv.holding.awaited(nil)) == 1 })
	last.wake(0)
	s.round() // Its own shard is not behind any more, but the others' messages are still too much.
	select {
	case err := <-done:
		t.Fatalf("went on with %v", err)
	default:
	}
	for _, ch := range chs {
		ch.wake(0)
	}
	s.round()
	srv.onTick()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStaleDrop: a goroutine that drops a channel which was dropped before does not drop the new channel of the same
// name.
func TestStaleDrop(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, Shards: 1})
	old := srv.enter("a")
	srv.leave(old)
	again := srv.enter("a")
	srv.leave(again)
	again = srv.enter("a")
	srv.dropIfEmpty(old)
	srv.dropIfEmpty(again) // It is in use.
	if srv.enter("a") != again {
		t.Error("there are two channels of one name")
	}
}
