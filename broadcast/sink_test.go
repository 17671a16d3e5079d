package broadcast

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// sink replaces the kernel: it takes what is sent to each fd, as far as room allows. Only one goroutine may use it.
type sink struct {
	kernel
	sent  map[int]*bytes.Buffer
	calls map[int]int
	// room says how much of n bytes fd takes. nil takes all.
	room func(fd, n int) (int, unix.Errno)
}

func newSink() *sink {
	return &sink{sent: make(map[int]*bytes.Buffer), calls: make(map[int]int)}
}

func (k *sink) send(fd int, pieces [][]byte) (int, unix.Errno) {
	k.calls[fd]++
	total := 0
	for _, b := range pieces {
		total += len(b)
	}
	n := total
	if k.room != nil {
		var errno unix.Errno
		if n, errno = k.room(fd, total); errno != 0 {
			return 0, errno
		}
	}
	buf := k.sent[fd]
	if buf == nil {
		buf = new(bytes.Buffer)
		k.sent[fd] = buf
	}
	left := n
	for _, b := range pieces {
		b = b[:min(left, len(b))]
		buf.Write(b)
		left -= len(b)
	}
	return n, 0
}

// bench is a shard whose goroutine does not run: the test makes the passes. It has conns connections, with fds from
// firstFD on that do not exist.
type bench struct {
	*feed // The plain one of a shard.
	t     testing.TB
	sink  *sink
	conns []*Conn
}

const firstFD = 1 << 24 // Above any limit, so that a stray call does no harm.

func newBench(t testing.TB, cfg Config, conns int) *bench {
	t.Helper()
	k := newSink()
	cfg.sockets, cfg.Shards = k, 1
	srv, _ := newServer(t, cfg)
	s := newShard(srv)
	b := &bench{feed: srv.root.plain.feedFor(s), t: t, sink: k}
	for i := range conns {
		c := enroll(s, firstFD+i, srv.forms[0])
		b.conns = append(b.conns, c)
		c.feed().addConn(c)
	}
	s.releaseViews()
	t.Cleanup(b.shard.finishAll)
	return b
}

// enroll makes an open connection of the root channel. Its opened is posted to s, which has not read it yet.
func enroll(s *shard, fd int, form *form) *Conn {
	c := newConn(fd, s.lobby)
	c.phase = phaseOpen
	c.setReadPhase(readFrames)
	s.srv.join(c, "", form, position{})
	s.srv.open.Add(1)
	return c
}

// publish appends text messages.
func (b *bench) publish(messages ...string) {
	for _, m := range messages {
		b.shard.srv.appendToLogs(b.shard.srv.root, Message{Text, []byte(m)}, 0)
	}
}

// run does what a wake-up does.
func (b *bench) run() {
	b.shard.runPasses(dueFeed{feed: b.feed})
	b.shard.releaseViews()
}

// writable does what an EPOLLOUT event does.
func (b *bench) writable(c *Conn) {
	if c.takeFlag(wantOut) {
		b.shard.post(c, postWritable, 0, nil)
	}
	b.shard.readInbox()
}

// texts is the wire form of text messages.
func texts(messages ...string) (wire []byte) {
	for _, m := range messages {
		wire = appendFrame(wire, ws.OpText, []byte(m))
	}
	return wire
}

// expect compares everything that was ever sent to the i-th connection.
func (b *bench) expect(i int, want []byte) {
	b.t.Helper()
	var got []byte
	if buf := b.sink.sent[firstFD+i]; buf != nil {
		got = buf.Bytes()
	}
	if !bytes.Equal(got, want) {
		b.t.Fatalf("connection %d: got %s on the wire, want %s", i, brief(got), brief(want))
	}
}

func (b *bench) disconnects(r Reason) uint64 { return b.shard.srv.total.disconnect[r].Load() }
