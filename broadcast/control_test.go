package broadcast

import (
	"fmt"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// peerSockets are the sockets of a peer that sends the same bytes again and
// again, and takes everything.
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

// controlled is one open connection that nothing but control frames passes:
// the worker's side and the shard's, all of it but the system calls.
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
	k.c.readPhase = readFrames
	return k
}

// turn does what a readable edge leads to, up to the answer's send.
func (k *controlled) turn() {
	if k.c.enter(0) {
		k.c.turn(k.w)
	}
	k.readInbox()
}

// reopen makes a connection that has ended as if it were new.
func (k *controlled) reopen() {
	c := k.c
	c.state.Store(0)
	c.phase, c.readPhase, c.why, c.cursor = phaseOpen, readFrames, 0, k.view.Head
	k.open.add(c)
	k.srv.open.Add(1)
	k.peer.ended = false
}

var controlPayload = []byte("0123456789abcdef")

// TestControlAllocs: a million clients that keep themselves alive send 33,000
// of these a second.
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

// BenchmarkControl is the way of a control frame from recv(2) to the answer's
// send(2), without these two.
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
