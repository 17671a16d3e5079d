package broadcast

import (
	"bytes"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/netpoll"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// rounds makes a shard without a goroutine do everything that it was woken for.
func (b *bench) rounds() {
	for {
		select {
		case <-b.shard.wake:
			b.shard.round()
		default:
			return
		}
	}
}

// TestPublishDuringAPass publishes while a pass is under way: the feed is queued again, and the message is delivered.
func TestPublishDuringAPass(t *testing.T) {
	b := newBench(t, Config{}, 2)
	publish := func(text string) {
		b.publish(text)
		b.shard.srv.root.wake(0)
	}
	b.sink.room = func(fd, n int) (int, unix.Errno) {
		if fd == firstFD+1 && b.sink.calls[fd] == 1 {
			publish("during the pass")
		}
		return n, 0
	}
	publish("before the pass")
	b.rounds()
	for i := range b.conns {
		b.expect(i, texts("before the pass", "during the pass"))
	}
}

// TestPingInAFrame: a connection in the middle of a frame is not pinged, not even when its socket is writable again
// and the shard does not know it yet.
func TestPingInAFrame(t *testing.T) {
	b := newBench(t, Config{PingInterval: time.Minute}, 1)
	c := b.conns[0]
	b.stall(5)
	b.publish("a message")
	b.run()
	b.stall(1 << 30)
	b.shard.visit(c, 1)
	b.expect(0, texts("a message")[:5])
	b.writable(c)
	b.shard.visit(c, 2)
	b.expect(0, append(texts("a message"), pingFrame...))
}

// eagerPoller is a poller that reports an event before Add returns.
type eagerPoller struct{ noPoller }

func (eagerPoller) Add(_ int, _ netpoll.Events, cb func(netpoll.Events)) error {
	cb(netpoll.Readable)
	return nil
}

func (eagerPoller) Yield(int) {}

// TestRequestDuringAdopt: a request that arrives while the connection is being registered gets its turn. Edge-triggered
// events come once.
func TestRequestDuringAdopt(t *testing.T) {
	srv := quietServer(t, Config{Shards: 1})
	srv.poller, srv.queue = eagerPoller{}, new(queue)
	srv.adopt(firstFD, nil)
	if waiting, _, _ := srv.queue.state(); waiting != 1 {
		t.Errorf("got %d turns, want 1", waiting)
	}
}

// TestOpenedDuringAPass: a connection that is opened while a pass is under way, and whose messages are the next to be
// evicted, is in the feed before the shard reports those messages as offered.
func TestOpenedDuringAPass(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, RetainBytes: minRetain, RetainTotalBytes: minRetain, Shards: 1})
	s, k := srv.shards[0], srv.cfg.sockets.(*sink)
	join := func(fd int) *Conn {
		c := newConn(fd, s.lobby)
		srv.join(c, "a", srv.forms[0], position{})
		srv.open.Add(1)
		return c
	}
	for fd := range 2 {
		c := join(firstFD + fd)
		c.phase = phaseOpen
		c.feed().addConn(c)
	}
	late := join(firstFD + 2)
	ch := late.channel()
	for !srv.full() {
		srv.appendToLogs(ch, Message{Binary, make([]byte, 1000)}, 0)
	}
	k.room = func(fd, n int) (int, unix.Errno) {
		if fd == firstFD+1 && k.calls[fd] == 1 { // The pass does not look at the inbox any more.
			s.post(late, postOpened, 0, newMail())
		}
		return n, 0
	}
	ch.wake(0)
	s.round()
	s.round()
	if ch.plain.log.Tail() == 0 {
		t.Fatal("nothing was evicted: the test shows nothing")
	}
	if want, got := k.sent[firstFD], k.sent[firstFD+2]; got == nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("the late one lacks some of %d bytes", want.Len())
	}
}

// waitsForMutex waits until a goroutine waits for a mutex in a function.
func waitsForMutex(t *testing.T, function string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	eventually(t, function+" to wait for a mutex", func() bool {
		all := string(stacks[:runtime.Stack(stacks, true)])
		return slices.ContainsFunc(strings.Split(all, "\n\n"), func(g string) bool {
			return strings.Contains(g, "sync.Mutex.Lock") && strings.Contains(g, function+"(")
		})
	})
}

// TestCaughtUpBeforeTheWait: a publisher that decides to wait just when the server has caught up does not wait,
// because nobody would wake it.
func TestCaughtUpBeforeTheWait(t *testing.T) {
	t.Run("Publish", func(t *testing.T) {
		srv := quietServer(t, Config{Shards: 1})
		h := &srv.holding
		srv.root.behind.Store(true)
		h.mu.Lock()
		gate := make(chan (<-chan struct{}))
		go func() { gate <- h.ready(srv.root) }() // The receive below awaits it.
		waitsForMutex(t, "(*holding).ready")
		srv.root.behind.Store(false)
		h.mu.Unlock()
		if <-gate != nil {
			t.Error("it waits for what has happened")
		}
	})
	t.Run("connection", func(t *testing.T) {
		srv := quietServer(t, Config{Shards: 1})
		srv.queue = new(queue)
		c := enroll(srv.shards[0], firstFD, srv.forms[0])
		h := &srv.holding
		srv.root.behind.Store(true)
		h.mu.Lock()
		held := make(chan struct{})
		go func() { srv.hold(c); close(held) }() // The receive below awaits it.
		waitsForMutex(t, "(*Server).hold")
		srv.root.behind.Store(false)
		h.mu.Unlock()
		<-held
		if waiting, _, _ := srv.queue.state(); h.connCount() != 0 || waiting != 1 {
			t.Errorf("got %d held, %d turns, want 0, 1", h.connCount(), waiting)
		}
	})
}

// TestEndWhileHeld: a held connection that ends is released at once, not when publishers may continue.
func TestEndWhileHeld(t *testing.T) {
	conns, ended := make(chan *Conn, 1), make(chan Reason, 1)
	srv, addr := newServer(t, Config{
		Replication:  Replication{HoldTime: time.Hour},
		OnConnect:    func(c *Conn, _ *http.Request) error { conns <- c; return nil },
		OnDisconnect: func(_ *Conn, why Reason) { ended <- why },
	})
	client := dial(t, addr)
	srv.Replica().HoldPublishers(true)
	client.sendText("held")
	eventually(t, "the publisher to be held", func() bool { return srv.Stats().Held == 1 })
	c := <-conns
	c.shard().post(c, postEnd, ReasonReset, nil) // As when a send fails.
	select {
	case why := <-ended:
		if why != ReasonReset {
			t.Errorf("got %v, want %v", why, ReasonReset)
		}
	case <-time.After(patience):
		t.Error("it still holds its file descriptor")
	}
}

// TestFirstReasonCounts: if two reasons reach the shard together, the first one counts.
func TestFirstReasonCounts(t *testing.T) {
	b := newBench(t, Config{}, 2)
	for i, c := range b.conns {
		if i > 0 { // The post exists already, without a reason.
			m := newMail()
			m.pongs.appendFrames(0, appendFrame(nil, ws.OpPong, nil))
			b.shard.post(c, postPong, 0, m)
		}
		b.shard.post(c, postClose, ReasonProtocolError, closeMail(1002, ""))
		b.shard.post(c, postEnd, ReasonPeerGone, nil)
	}
	b.shard.readInbox()
	if first, second := b.disconnects(ReasonProtocolError), b.disconnects(ReasonPeerGone); first != 2 || second != 0 {
		t.Errorf("got %d for breaking the protocol, %d for leaving, want 2, 0", first, second)
	}
}

// TestPongBeforeTheFirstMessage: the pong to a ping that arrived with the handshake goes out before messages that
// were published after the ping.
func TestPongBeforeTheFirstMessage(t *testing.T) {
	b := newBench(t, Config{}, 0)
	c := enroll(b.shard, firstFD, b.shard.srv.forms[0])
	opened, pinged := newMail(), newMail()
	opened.response = append(opened.response, "101"...)
	pong := appendFrame(nil, ws.OpPong, []byte("p"))
	pinged.pongs.appendFrames(0, pong)
	b.shard.post(c, postOpened, 0, opened)
	b.shard.post(c, postPong, 0, pinged)
	b.publish("a message")
	b.conns = append(b.conns, c)
	b.run()
	b.expect(0, slices.Concat([]byte("101"), pong, texts("a message")))
}
