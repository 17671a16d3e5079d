package broadcast

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// peerSockets are the sockets of a peer that sends the same bytes again and again, and takes everything.
type peerSockets struct {
	countingSockets
	sends []byte
	ended bool
}

func (k *peerSockets) recv(_ int, b []byte) (int, unix.Errno) {
	if k.ended {
		return 0, 0
	}
	return copy(b, k.sends), 0
}

// controlled is one open connection that only control frames pass: the worker's and the shard's side without the
// system calls.
type controlled struct {
	*bench
	peer *peerSockets
	c    *Conn
	w    *worker
}

func newControlled(t testing.TB, frame []byte) *controlled {
	t.Helper()
	s := newBench(t, Config{}, 1)
	k := &controlled{bench: s, peer: &peerSockets{sends: frame}, c: s.conns[0], w: newWorker()}
	k.shard.sockets = k.peer
	k.c.setReadPhase(readFrames)
	return k
}

// turn does what a readable event leads to, up to the send of the answer.
func (k *controlled) turn() {
	if k.c.acquire(0) {
		k.c.turn(k.w)
	}
	k.shard.readInbox()
}

// reopen makes an ended connection look like a new one.
func (k *controlled) reopen() {
	c := k.c
	c.state.Store(0)
	c.phase, c.why, c.cursor = phaseOpen, 0, 0
	c.setReadPhase(readFrames)
	k.shard.srv.join(c, "", k.shard.srv.forms[0], position{})
	k.feed = c.feed()
	k.feed.addConn(c)
	k.shard.srv.open.Add(1)
	k.peer.ended = false
}

var controlPayload = []byte("0123456789abcdef")

// TestControlAllocs: control frames cost no allocation. A million clients with keep-alive send 33,000 of them a
// second.
func TestControlAllocs(t *testing.T) {
	const runs = 1000
	for _, tt := range []struct {
		op     ws.OpCode
		sends  int // for each
		allocs float64
	}{
		{ws.OpPing, 1, 0},
		{ws.OpPong, 0, 0},
	} {
		for _, size := range []int{0, 16, ws.MaxControlFramePayloadSize} {
			t.Run(fmt.Sprintf("op=%x/size=%d", tt.op, size), func(t *testing.T) {
				k := newControlled(t, clientFrame(nil, true, tt.op, make([]byte, size)))
				if got := testing.AllocsPerRun(runs, k.turn); got != tt.allocs {
					t.Errorf("allocations: got %v, want %v", got, tt.allocs)
				}
				if got, want := k.peer.calls, (runs+1)*tt.sends; got != want {
					t.Errorf("system calls: got %d, want %d", got, want)
				}
				if !k.c.has(heard) || k.c.phase != phaseOpen {
					t.Errorf("heard %t, phase %d, want true, open", k.c.has(heard), k.c.phase)
				}
			})
		}
	}
}

// BenchmarkControl measures a control frame from recv(2) to the send(2) of its answer, without these two.
func BenchmarkControl(b *testing.B) {
	b.Run("ping", func(b *testing.B) { // The answer is sent, too.
		k := newControlled(b, clientFrame(nil, true, ws.OpPing, controlPayload))
		b.ReportAllocs()
		for b.Loop() {
			k.turn()
		}
		if got := k.peer.calls; got != b.N {
			b.Errorf("pongs: got %d, want %d", got, b.N)
		}
	})
	b.Run("pong", func(b *testing.B) { // Nobody asked for it: a sign of life.
		k := newControlled(b, clientFrame(nil, true, ws.OpPong, controlPayload))
		b.ReportAllocs()
		for b.Loop() {
			k.turn()
		}
		if got := k.peer.calls; got != 0 {
			b.Errorf("sends: got %d, want 0", got)
		}
	})
	b.Run("close", func(b *testing.B) { // Echoed, then the peer's stream ends. With shutdown(2), of no socket.
		k := newControlled(b, clientFrame(nil, true, ws.OpClose, []byte{0x03, 0xe8}))
		b.ReportAllocs()
		for b.Loop() {
			k.turn()
			k.peer.ended = true
			k.turn()
			k.reopen()
		}
		if got, want := k.disconnects(ReasonPeerClosed), uint64(b.N); got != want || k.peer.calls != b.N {
			b.Errorf("got %d connections closed by their peers, %d answers, want %d of each", got, k.peer.calls, want)
		}
	})
}

// TestPongsInTheirPlace: pings that arrive between messages of the same peer are answered between these messages,
// however the bytes are split over recvs, and whenever the shard runs.
func TestPongsInTheirPlace(t *testing.T) {
	const frames = 180
	_, addr := newServer(t, Config{})
	isPing := func(i int) bool { return i%12 == 5 || i%12 == 6 } // Not more places than pongs keep apart.
	var send []byte
	for i := range frames {
		op := ws.OpText
		if isPing(i) {
			op = ws.OpPing
		}
		send = clientFrame(send, true, op, fmt.Append(nil, i))
	}
	for _, chop := range chops {
		c := dial(t, addr)
		go func() { // Ends when all is sent.
			for b := range slices.Chunk(send, min(chop, len(send))) {
				if _, err := c.Write(b); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		}()
		for i := range frames {
			want := ws.OpText
			if isPing(i) {
				want = ws.OpPong
			}
			if op, p, _ := c.readFrame(); op != want || string(p) != fmt.Sprint(i) {
				t.Fatalf("chops of %d: frame %d: got %v %q", chop, i, op, p)
			}
		}
		c.Close()
	}
}

func TestPongs(t *testing.T) {
	var p pongs
	p.appendFrames(0, []byte("a"))
	p.appendFrames(0, []byte("b"))
	p.appendFrames(7, []byte("c"))
	p.appendFrames(5, []byte("d")) // Not before what is older.
	if p.first() != 0 || p.last() != 7 || len(p.runs) != 2 {
		t.Errorf("got %+v", p)
	}
	var q pongs
	q.addAll(&p)
	q.appendFrames(9, []byte("e"))
	for _, want := range []string{"ab", "cd", "e"} {
		if got := string(q.takeFirst(nil)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !q.empty() {
		t.Errorf("got %+v, want nothing", q)
	}
	for i := range 2 * maxPongRuns {
		q.appendFrames(uint64(i), []byte{byte(i)})
	}
	if len(q.runs) != maxPongRuns || q.last() != 2*maxPongRuns-1 || len(q.frames) != 2*maxPongRuns {
		t.Errorf("many places: got %+v", q.runs)
	}
	q.appendFrames(100, make([]byte, maxPongBytes))
	if len(q.runs) != 1 || q.first() != 100 || len(q.frames) != maxPongBytes {
		t.Errorf("many bytes: got %+v", q.runs)
	}
	q.clear()
	for at, ping := range []string{"", "a", "the newest"} {
		q.appendFrames(uint64(at), appendFrame(nil, ws.OpPong, []byte(ping)))
	}
	q.keepNewest()
	if q.first() != 2 || q.last() != 2 || cap(q.frames) > 16 {
		t.Errorf("the newest: got %+v of %d bytes", q, cap(q.frames))
	}
	if got, want := q.takeFirst(nil), appendFrame(nil, ws.OpPong, []byte("the newest")); !bytes.Equal(got, want) || !q.empty() {
		t.Errorf("the newest: got %q, want %q", got, want)
	}
}

// TestManyPings: if more pings arrive than pongs are kept, some are not answered, but the newest is.
func TestManyPings(t *testing.T) {
	_, addr := newServer(t, Config{})
	c := dial(t, addr)
	var send []byte
	for i := range 2000 {
		send = clientFrame(send, true, ws.OpPing, fmt.Append(nil, i))
	}
	c.send(send)
	for last := -1; last < 1999; {
		op, p, _ := c.readFrame()
		i, err := strconv.Atoi(string(p))
		if op != ws.OpPong || err != nil || i <= last {
			t.Fatalf("got %v %q behind %d", op, p, last)
		}
		last = i
	}
}

// TestOwnMessagesBeforeClose: a peer that violates the protocol, or closes, first gets the messages that it has sent,
// if it reads.
func TestOwnMessagesBeforeClose(t *testing.T) {
	_, addr := newServer(t, Config{})
	for _, last := range [][]byte{
		frameWith(0x20, true, ws.OpText, nil), clientFrame(nil, true, ws.OpClose, nil),
	} {
		for range 200 {
			c := dial(t, addr)
			c.send(slices.Concat(clientFrame(nil, true, ws.OpText, []byte("one")), clientFrame(nil, true, ws.OpText, []byte("two")), last))
			c.expectText("one")
			c.expectText("two")
			if op, _, _ := c.readFrame(); op != ws.OpClose {
				t.Fatalf("got %v, want a close frame", op)
			}
			c.Close()
		}
	}
}
