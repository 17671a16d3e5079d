package broadcast

import (
	"bytes"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/crier-ws/crier/netpoll"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// TestUnfinishedIsCounted: whatever is unfinished, the capacity of its buffers is counted, also if a larger use
// before has grown them.
func TestUnfinishedIsCounted(t *testing.T) {
	for name, b := range map[string][]byte{
		"a header":            clientFrame(nil, true, ws.OpText, []byte("text"))[:3],
		"a frame":             clientFrame(nil, true, ws.OpText, []byte("text"))[:8],
		"a fragment":          clientFrame(nil, false, ws.OpText, []byte("text")),
		"a ping":              clientFrame(nil, true, ws.OpPing, []byte("ping"))[:8],
		"a ping in a message": append(clientFrame(nil, false, ws.OpText, []byte("text")), clientFrame(nil, true, ws.OpPing, []byte("ping"))[:8]...),
	} {
		for _, most := range []int64{1 << 20, 1000} {
			d := newDecoder(t, 0)
			u := &d.srv.unfinished
			u.most = most
			d.c.in = &inbound{rest: make([]byte, 0, keptBytes)}
			v, got := d.recv(t, b)
			switch {
			case most == 1000:
				if v != over || got.why != ReasonCrowded || d.c.in != nil || u.bytes.Load() != 0 {
					t.Errorf("%s: with no room: got verdict %d, reason %v, %d bytes counted", name, v, got.why, u.bytes.Load())
				}
			case v == over || d.c.in == nil:
				t.Errorf("%s: got verdict %d, reason %v", name, v, got.why)
			default:
				if got, want := u.bytes.Load(), int64(cap(d.c.in.rest)+cap(d.c.in.payload)); got != want || want < keptBytes {
					t.Errorf("%s: %d bytes are counted of %d", name, got, want)
				}
			}
		}
	}
}

// TestCrowdedOut: a connection that has to give way is closed although it sends nothing more, in whatever state it
// waits.
func TestCrowdedOut(t *testing.T) {
	srv, addr := newServer(t, Config{MaxMessageBytes: 4 << 20, MemoryBytes: 128 << 20, CloseTimeout: 100 * time.Millisecond})
	frame := clientFrame(nil, true, ws.OpBinary, make([]byte, 4<<20))
	for range srv.unfinished.most>>22 + 2 {
		dial(t, addr).send(frame[:len(frame)-1])
	}
	eventually(t, "some to be closed", func() bool { return srv.Stats().Disconnects["crowded"] > 0 })
	if got := srv.unfinished.bytes.Load(); got > srv.unfinished.most {
		t.Errorf("%d bytes are kept, at most %d may be", got, srv.unfinished.most)
	}
}

// TestSmallIsSpared: many connections that keep some tens of KiB each give way to one that keeps less.
func TestSmallIsSpared(t *testing.T) {
	srv, addr := newServer(t, Config{MemoryBytes: 64 << 20, CloseTimeout: 100 * time.Millisecond})
	part := clientFrame(nil, false, ws.OpBinary, make([]byte, 40<<10))
	healthy := dial(t, addr)
	for range srv.unfinished.most/(40<<10) + 10 {
		dial(t, addr).send(part)
	}
	eventually(t, "there to be no room", func() bool { return srv.Stats().Disconnects["crowded"] > 0 })
	message := clientFrame(nil, true, ws.OpBinary, make([]byte, 20_000))
	for range 20 {
		healthy.send(message[:15_000])
		eventually(t, "it to be read", func() bool { return srv.queue.quiet() })
		healthy.send(message[15_000:])
		if op, p, _ := healthy.readFrame(); op != ws.OpBinary || len(p) != 20_000 {
			t.Fatalf("got opcode %d, %s", op, brief(p))
		}
	}
}

// TestHeldMustGiveWay: connections that are held because the server is behind, or by their rate, get a turn when they
// have to give way or are closed.
func TestHeldMustGiveWay(t *testing.T) {
	srv := quietServer(t, Config{Rate: 0.001, Burst: 1, Shards: 1})
	for _, flag := range []uint32{closed, evicted, mute | leaving} {
		stays, goes := newConn(firstFD, srv.shards[0].lobby), newConn(firstFD+1, srv.shards[0].lobby)
		for _, c := range []*Conn{stays, goes} {
			for range 2 {
				srv.limiter.spend(c, 1, time.Now())
			}
			if !srv.limiter.holdIfOver(c) {
				t.Fatal("it is not ahead of its rate")
			}
		}
		goes.set(flag)
		w := &waiters{conns: []*Conn{stays, goes}}
		srv.holding.byChannel[srv.root] = w
		if got := srv.holding.takeLeaving(); len(got) != 1 || got[0] != goes || len(w.conns) != 1 || w.conns[0] != stays {
			t.Errorf("flag %b: behind: got %d connections, %d stay", flag, len(got), len(w.conns))
		}
		if got := srv.limiter.takeDue(time.Now(), false); len(got) != 1 || got[0] != goes {
			t.Errorf("flag %b: rate: got %d connections", flag, len(got))
		}
		srv.limiter.takeDue(time.Now(), true)
	}
}

// gluttonSockets always have enough to read to fill the buffer, and record its size.
type gluttonSockets struct {
	countingSockets
	rooms []int
}

func (k *gluttonSockets) recv(_ int, b []byte) (int, unix.Errno) {
	k.rooms = append(k.rooms, len(b))
	return 0, unix.EAGAIN
}

// TestRecvBufferOfHeld: with a bound on memory, few bytes are read of a connection that may have to wait, and none
// when memory is scarce.
func TestRecvBufferOfHeld(t *testing.T) {
	rate := Config{Rate: 1}
	hold := Config{Rate: 1, OverRate: RateClose}
	for _, tt := range []struct {
		name           string
		cfg            Config
		most           int64
		behind, scarce bool
		want           int
	}{
		{"no bound", Config{}, 0, true, false, recvBytes},
		{"no bound, rate", rate, 0, false, false, recvBytes},
		{"bound", Config{}, 1 << 20, false, false, recvBytes},
		{"bound, scarce", Config{}, 1 << 20, false, true, recvBytes},
		{"behind", Config{}, 1 << 20, true, false, heldBytes},
		{"behind, scarce", Config{}, 1 << 20, true, true, 0},
		{"rate", rate, 1 << 20, false, false, heldBytes},
		{"rate, that closes", hold, 1 << 20, false, false, recvBytes},
	} {
		b := newBench(t, tt.cfg, 1)
		k := &gluttonSockets{}
		b.shard.sockets = k
		b.shard.srv.unfinished.most = tt.most
		if tt.scarce {
			b.shard.srv.unfinished.bytes.Store(tt.most)
		}
		b.shard.srv.root.behind.Store(tt.behind)
		v := b.conns[0].readOnce(newWorker())
		got := 0
		if len(k.rooms) > 0 {
			got = k.rooms[0]
		}
		if want := map[bool]verdict{true: short, false: held}[tt.want > 0]; got != tt.want || v != want {
			t.Errorf("%s: %d bytes may be read, verdict %d, want %d, %d", tt.name, got, v, tt.want, want)
		}
		b.shard.srv.unfinished.bytes.Store(0)
	}
}

// TestPostedPongs: when many pongs wait for a shard, only the newest of each connection is kept.
func TestPostedPongs(t *testing.T) {
	var b inbox
	pong := appendFrame(nil, ws.OpPong, bytes.Repeat([]byte("x"), 125))
	conns := make([]*Conn, maxPostedPongs/maxPongBytes*2)
	for i := range conns {
		conns[i] = new(Conn)
		for range maxPongBytes / len(pong) {
			m := newMail()
			m.pongs.appendFrames(0, pong)
			b.putPost(conns[i], postPong, 0, m)
		}
	}
	kept := 0
	for i := range b.posts {
		kept += len(b.posts[i].mail.pongs.frames)
	}
	if all := len(conns) * len(pong); kept > maxPostedPongs+all || kept < all {
		t.Errorf("%d bytes of pongs wait, want about %d and a pong for each of %d", kept, maxPostedPongs, len(conns))
	}
}

// failingPoller takes no fd.
type failingPoller struct{ poller }

func (failingPoller) Add(int, netpoll.Events, func(netpoll.Events)) error { return unix.ENOSPC }

// TestAddressOfUnadopted: a connection that cannot be adopted is not counted for its address.
func TestAddressOfUnadopted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, breakIt := range map[string]func(*Server){
		"epoll is full":    func(srv *Server) { srv.poller = failingPoller{} },
		"the server stops": func(srv *Server) { srv.opening.closed = true },
	} {
		srv := quietServer(t, Config{MaxConnsPerIP: 1, Shards: 1})
		srv.cfg.Logger = slog.New(slog.DiscardHandler)
		breakIt(srv)
		for range 3 {
			connect(t, ln.Addr().String())
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			file, err := accepted.(*net.TCPConn).File()
			accepted.Close()
			if err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Dup(int(file.Fd()))
			file.Close()
			if err != nil {
				t.Fatal(err)
			}
			srv.adopt(fd, nil)
		}
		if n := len(srv.addresses.byConn) + len(srv.addresses.counts); n != 0 || srv.total.perIP.Load() != 0 {
			t.Errorf("%s: %d are counted, %d were turned away", name, n, srv.total.perIP.Load())
		}
	}
}
