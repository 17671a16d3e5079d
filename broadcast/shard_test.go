package broadcast

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

func TestPassIsOneSystemCallForEach(t *testing.T) {
	b := newBench(t, Config{}, 100)
	b.publish("one", "two", "three") // They came since the last pass: they leave together.
	b.run()
	for i := range b.conns {
		b.expect(i, texts("one", "two", "three"))
		if got := b.sink.calls[firstFD+i]; got != 1 {
			t.Fatalf("connection %d: got %d system calls, want 1", i, got)
		}
	}
	b.run()
	if got := b.sink.calls[firstFD]; got != 1 {
		t.Errorf("a pass without news made %d system calls, want 0", got-1)
	}
}

// countingSockets takes all bytes and keeps none.
type countingSockets struct {
	kernel
	calls int
}

func (k *countingSockets) send(_ int, pieces [][]byte) (n int, errno unix.Errno) {
	k.calls++
	for _, b := range pieces {
		n += len(b)
	}
	return n, 0
}

func TestFanOutAllocs(t *testing.T) {
	b := newBench(t, Config{RetainBytes: 1 << 20}, 1000)
	counting := &countingSockets{}
	b.shard.sockets = counting
	m := Message{Text, []byte(strings.Repeat("x", 64))}
	for range 200 { // Fill the log's retention, so that all sizes are final.
		b.shard.srv.appendToLogs(b.shard.srv.root, Message{Text, make([]byte, 16<<10)}, 0)
		b.run()
	}
	counting.calls = 0
	const runs = 200
	got := testing.AllocsPerRun(runs, func() {
		b.shard.srv.appendToLogs(b.shard.srv.root, m, 0)
		b.run()
	})
	if got != 0 {
		t.Errorf("a message to 1000 connections: %v allocations, want 0", got)
	}
	if want := (runs + 1) * 1000; counting.calls != want {
		t.Errorf("got %d system calls, want %d", counting.calls, want)
	}
}

// TestEveryShortWrite blocks the socket after every number of bytes, with and without a pong to send: the stream is
// always the same.
func TestEveryShortWrite(t *testing.T) {
	t.Parallel()
	messages := []string{"", "a", strings.Repeat("b", 125), strings.Repeat("c", 126), strings.Repeat("d", 70_000)}
	want := texts(messages...)
	for step := range len(want) {
		if step > 300 && step%997 != 0 && step < len(want)-300 {
			continue
		}
		b := newBench(t, Config{}, 1)
		c := b.conns[0]
		budget := step
		b.sink.room = func(_, n int) (int, unix.Errno) {
			if budget == 0 {
				return 0, unix.EAGAIN
			}
			n = min(n, budget)
			budget -= n
			return n, 0
		}
		b.publish(messages...)
		b.run()
		b.expect(0, want[:step])
		if c.out&outBlocked == 0 {
			t.Fatalf("after %d bytes: not blocked", step)
		}
		budget = 1 << 30
		b.writable(c)
		b.expect(0, want)
	}
}

func TestWritableBeforeItIsAwaited(t *testing.T) {
	b := newBench(t, Config{}, 1)
	c := b.conns[0]
	// The first send finds the socket full; the edge comes before the shard has
	// said that it waits. No edge will come again.
	first := true
	b.sink.room = func(_, n int) (int, unix.Errno) {
		if first {
			first = false
			return 0, unix.EAGAIN
		}
		return n, 0
	}
	b.publish("x")
	b.run()
	b.expect(0, texts("x"))
	if c.out != 0 {
		t.Errorf("out flags: got %b, want none", c.out)
	}
}

func TestStalledOneCostsTheOthersNothing(t *testing.T) {
	b := newBench(t, Config{}, 3)
	b.sink.room = func(fd, n int) (int, unix.Errno) {
		if fd == firstFD+1 {
			return 0, unix.EAGAIN
		}
		return n, 0
	}
	for i := range 10 {
		b.publish(fmt.Sprint(i))
		b.run()
	}
	if got := b.sink.calls[firstFD+1]; got != 2 {
		t.Errorf("the stalled one: got %d system calls for 10 messages, want 2", got)
	}
	for _, i := range []int{0, 2} {
		b.expect(i, texts("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
	}
}

// lap publishes until everything that a connection stood at is dropped, and
// returns what was published, on the wire. Each pass sees a message "newest".
func (b *bench) lap() (wire []byte) {
	big := strings.Repeat("z", 100_000)
	for range 10 {
		b.publish(big, "newest")
		wire = append(wire, texts(big, "newest")...)
		b.run()
	}
	return wire
}

// stall makes the socket of every connection take n bytes in all.
func (b *bench) stall(n int) {
	b.sink.room = func(fd, want int) (int, unix.Errno) {
		sent := 0
		if buf := b.sink.sent[fd]; buf != nil {
			sent = buf.Len()
		}
		if sent >= n {
			return 0, unix.EAGAIN
		}
		return min(want, n-sent), 0
	}
}

const first = "the first message"

func TestLappedBetweenFrames(t *testing.T) {
	b := newBench(t, Config{RetainBytes: minRetain}, 1)
	wire := texts(first)
	b.stall(len(wire))
	b.publish(first)
	b.run()
	b.lap()
	if c := b.conns[0]; c.phase != phaseClosing || c.why != ReasonSlow {
		t.Fatalf("got phase %d, reason %v, want closing, slow", c.phase, c.why)
	}
	b.stall(1 << 30)
	b.writable(b.conns[0])
	b.expect(0, append(wire, appendClose(nil, ws.StatusPolicyViolation, "too slow: messages were lost")...))
}

func TestLappedInAFrame(t *testing.T) {
	b := newBench(t, Config{RetainBytes: minRetain}, 1)
	b.stall(5)
	b.publish(first)
	b.run()
	b.lap()
	if c := b.conns[0]; c.phase != phaseNone || !c.has(closed) {
		t.Fatalf("got phase %d, closed %t, want none, true", c.phase, c.has(closed))
	}
	if got := b.disconnects(ReasonSlow); got != 1 {
		t.Errorf("disconnects for being slow: got %d, want 1", got)
	}
	b.expect(0, texts(first)[:5])
}

func TestSkip(t *testing.T) {
	for cut := range len(texts(first)) + 1 {
		b := newBench(t, Config{RetainBytes: minRetain, Slow: SlowSkip}, 1)
		b.stall(cut)
		b.publish(first)
		b.run()
		lost := b.lap()
		b.stall(1 << 30)
		b.writable(b.conns[0])
		got := b.sink.sent[firstFD].Bytes()
		if cut > 0 { // What was begun is finished.
			var ok bool
			if got, ok = bytes.CutPrefix(got, texts(first)); !ok {
				t.Fatalf("cut after %d: the frame in progress is not finished", cut)
			}
		}
		// It goes on with what was the newest when it was lapped, and misses nothing from there.
		if !bytes.HasPrefix(got, texts("newest")) || !bytes.HasSuffix(lost, got) {
			t.Fatalf("cut after %d: goes on with %s", cut, brief(got))
		}
		if got := b.shard.srv.total.skips.Load(); got == 0 {
			t.Errorf("cut after %d: no skip counted", cut)
		}
		if b.shard.kept != 0 || len(b.shard.outOfBand) != 0 {
			t.Errorf("cut after %d: %d bytes kept for %d connections, want 0", cut, b.shard.kept, len(b.shard.outOfBand))
		}
	}
}

func TestSkipKeepsNoMoreThanItsBudget(t *testing.T) {
	b := newBench(t, Config{RetainBytes: minRetain, Slow: SlowSkip}, 20)
	message := strings.Repeat("m", 2000)
	b.stall(10)
	b.publish(message)
	b.run()
	b.lap()
	budget := minRetain / 8
	if b.shard.kept > budget {
		t.Errorf("kept %d bytes, want at most %d", b.shard.kept, budget)
	}
	closed := b.disconnects(ReasonSlow)
	if want := uint64(20 - budget/2000); closed != want {
		t.Errorf("closed %d, want %d: those whose frame was too much to keep", closed, want)
	}
}

func TestControlFramesWaitForABorder(t *testing.T) {
	b := newBench(t, Config{}, 1)
	c := b.conns[0]
	b.stall(5)
	b.publish(first, "second")
	b.run()
	for _, ping := range []string{"old", "newest"} {
		m := newMail()
		m.pongs.appendFrames(0, appendFrame(nil, ws.OpPong, []byte(ping)))
		b.shard.post(c, postPong, 0, m)
		b.shard.readInbox()
	}
	b.shard.post(c, postClose, ReasonPeerClosed, closeMail(1000, ""))
	b.shard.readInbox()
	b.expect(0, texts(first)[:5])
	b.stall(1 << 30)
	b.writable(c)
	want := appendClose(texts(first), 1000, "")
	b.expect(0, want)
	b.publish("too late")
	b.run()
	b.expect(0, want)
}

func TestPongBetweenMessages(t *testing.T) {
	for cut := range len(texts(first)) {
		b := newBench(t, Config{}, 1)
		c := b.conns[0]
		b.stall(cut)
		b.publish(first, "second")
		b.run()
		for _, ping := range []string{"old", "newest"} {
			m := newMail()
			m.pongs.appendFrames(0, appendFrame(nil, ws.OpPong, []byte(ping)))
			b.shard.post(c, postPong, 0, m)
		}
		b.shard.readInbox()
		b.stall(1 << 30)
		b.writable(c)
		pong := appendFrame(nil, ws.OpPong, []byte("newest")) // Of who does not read only that is answered.
		want := slices.Concat(texts(first), pong, texts("second"))
		if cut == 0 {
			want = slices.Concat(pong, texts(first, "second"))
		}
		b.expect(0, want)
	}
}

// TestLeavingDuringAPass breaks connections in the middle of a pass, which moves others to places that the pass has
// visited already.
func TestLeavingDuringAPass(t *testing.T) {
	for _, broken := range [][]int{{0}, {99}, {0, 1, 2}, {5, 50, 99}, {98, 99}} {
		b := newBench(t, Config{}, 100)
		b.sink.room = func(fd, n int) (int, unix.Errno) {
			if slices.Contains(broken, fd-firstFD) {
				return 0, unix.EPIPE
			}
			return n, 0
		}
		b.publish("x")
		b.run()
		for i := range b.conns {
			if !slices.Contains(broken, i) {
				b.expect(i, texts("x"))
			}
		}
		if got := b.disconnects(ReasonPeerGone); got != uint64(len(broken)) {
			t.Errorf("broken %v: got %d disconnects, want %d", broken, got, len(broken))
		}
	}
}

// TestInboxDuringAPass ends the first connections while the pass is at the last one: connections that moved to their
// places now were visited, and those that moved before were not.
func TestInboxDuringAPass(t *testing.T) {
	const conns = 3 * inboxEvery
	for at := range conns {
		b := newBench(t, Config{}, conns)
		b.sink.room = func(fd, n int) (int, unix.Errno) {
			if fd == firstFD+at {
				b.shard.inbox.putPost(b.conns[0], postEnd, ReasonPeerGone, nil)
				b.shard.inbox.putPost(b.conns[inboxEvery], postEnd, ReasonPeerGone, nil)
			}
			return n, 0
		}
		b.publish("x")
		b.run()
		for i := range b.conns {
			if i != 0 && i != inboxEvery {
				b.expect(i, texts("x"))
			}
		}
	}
}

func TestOpenedIsSaidBeforeMessages(t *testing.T) {
	b := newBench(t, Config{}, 0)
	b.publish("before")
	b.run()
	c := enroll(b.shard, firstFD, b.shard.srv.forms[0])
	b.conns = append(b.conns, c)
	m := newMail()
	m.response = append(m.response, "101 and greeting"...)
	b.shard.post(c, postOpened, 0, m)
	b.publish("after")
	b.stall(3)
	b.run()
	b.expect(0, []byte("101"))
	b.stall(1 << 30)
	b.writable(c)
	b.expect(0, append([]byte("101 and greeting"), texts("after")...))
}

func TestStarvedOfKernelMemory(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOBUFS, unix.ENOMEM} {
		b := newBench(t, Config{}, 1)
		b.sink.room = func(int, int) (int, unix.Errno) { return 0, errno }
		b.publish("x")
		b.run()
		b.run()
		b.sink.room = nil
		b.shard.tick()
		b.expect(0, texts("x"))
	}
}

func TestClosingExpires(t *testing.T) {
	b := newBench(t, Config{}, 2)
	b.shard.startClose(b.conns[0], appendClose(nil, 1000, ""), ReasonPeerClosed)
	b.shard.abortOverdue(b.shard.srv.clock())
	if b.conns[0].has(closed) {
		t.Fatal("closed before its time")
	}
	b.shard.abortOverdue(b.shard.srv.clock() + milliseconds(b.shard.srv.cfg.CloseTimeout) + 1)
	if !b.conns[0].has(closed) || b.conns[1].has(closed) {
		t.Errorf("closed: got %t, %t, want true, false", b.conns[0].has(closed), b.conns[1].has(closed))
	}
}
