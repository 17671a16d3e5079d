package broadcast

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// recvFaults is the kernel, except that recv fails as the test wants.
type recvFaults struct {
	kernel
	fault atomic.Uint32 // The errno, or 0.
	left  atomic.Int64  // How often.
	calls atomic.Int64
}

func (f *recvFaults) fail(errno unix.Errno, times int64) {
	f.calls.Store(0)
	f.fault.Store(uint32(errno))
	f.left.Store(times)
}

func (f *recvFaults) recv(fd int, b []byte) (int, unix.Errno) {
	f.calls.Add(1)
	if errno := unix.Errno(f.fault.Load()); errno != 0 && f.left.Add(-1) >= 0 {
		return 0, errno
	}
	return f.kernel.recv(fd, b)
}

// TestReadInterrupted: EINTR is not an error, neither before nor after the handshake, nor if it occurs more often
// than a turn has reads.
func TestReadInterrupted(t *testing.T) {
	var f recvFaults
	srv, addr := newServer(t, Config{sockets: &f})
	f.fail(unix.EINTR, 3*readsPerTurn)
	c := dial(t, addr)
	f.fail(unix.EINTR, 3*readsPerTurn)
	c.sendText("hello")
	c.expectText("hello")
	if got := f.calls.Load(); got <= 3*readsPerTurn {
		t.Errorf("calls of recv: got %d, want more than %d", got, 3*readsPerTurn)
	}
	eventually(t, "the turn to be over", srv.queue.quiet)
}

// TestReadSpurious: an event without bytes changes nothing and does not spin.
func TestReadSpurious(t *testing.T) {
	var f recvFaults
	srv, addr := newServer(t, Config{sockets: &f})
	c := dial(t, addr)
	eventually(t, "the turn to be over", srv.queue.quiet)
	f.fail(unix.EAGAIN, 1)
	c.sendText("one")
	eventually(t, "the spurious recv", func() bool { return f.left.Load() <= 0 })
	eventually(t, "the turn to be over", srv.queue.quiet)
	if got := f.calls.Load(); got != 1 {
		t.Errorf("calls of recv: got %d, want 1", got)
	}
	c.sendText("two") // Brings the next edge.
	c.expectText("one")
	c.expectText("two")
}

// TestReadFaults: a connection that the kernel reports broken ends, and others
// do not.
func TestReadFaults(t *testing.T) {
	for errno, why := range map[unix.Errno]Reason{
		unix.ECONNRESET: ReasonReset, unix.ETIMEDOUT: ReasonReset, unix.EHOSTUNREACH: ReasonReset, unix.EPIPE: ReasonPeerGone,
	} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			var f recvFaults
			srv, addr := newServer(t, Config{sockets: &f})
			other := dial(t, addr)
			c := dial(t, addr)
			eventually(t, "the turns to be over", srv.queue.quiet)
			f.fail(errno, 1)
			c.sendText("lost")
			eventually(t, "the connection to end", func() bool { return srv.Stats().Disconnects[why.String()] == 1 })
			f.fail(errno, 1)
			connect(t, addr).send([]byte("GET"))
			eventually(t, "the handshake to end", func() bool { return srv.Stats().HandshakeAbandoned == 1 })
			other.sendText("still here")
			other.expectText("still here")
			if st := srv.Stats(); st.Open != 1 || st.Handshakes != 0 || len(st.Disconnects) != 1 {
				t.Errorf("got %+v, want one open and one disconnect", st)
			}
		})
	}
}

// TestReadReset: a connection that its peer resets ends with ReasonReset.
func TestReadReset(t *testing.T) {
	srv, addr := newServer(t, Config{})
	c := dial(t, addr)
	eventually(t, "the turn to be over", srv.queue.quiet)
	if err := c.Conn.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "the connection to end", func() bool { return srv.Stats().Disconnects["reset"] == 1 })
}

// TestReadEnd: bytes before the end of the stream are not lost, with either kind of end.
func TestReadEnd(t *testing.T) {
	srv, addr := newServer(t, Config{})
	other := dial(t, addr)
	for i := range 20 {
		want := fmt.Sprintf("last words %d", i)
		c := dial(t, addr)
		c.sendText(want)
		if i%2 == 0 {
			c.Close()
		} else {
			_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		other.expectText(want)
		eventually(t, "the connection to end", func() bool { return srv.Stats().Open == 1 })
	}
	// One that closed with our message unread in its buffer may have sent a
	// reset before the end of its stream was seen.
	if st := srv.Stats(); st.Disconnects["peer-gone"] < 10 || st.Disconnects["peer-gone"]+st.Disconnects["reset"] != 20 {
		t.Errorf("disconnects: got %v, want 20 peer-gone or reset, 10 peer-gone at least", st.Disconnects)
	}
}

// TestReadEndAtOnce: the stream has ended before the first event, so no event of its own reports that.
func TestReadEndAtOnce(t *testing.T) {
	srv, addr := newServer(t, Config{})
	other := dial(t, addr)
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, ln.Addr().String())
	c.send(append([]byte(handshakeHead), stream("text early")...))
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // Stopped by the cleanup of newServer.
	other.expectText("early")
	eventually(t, "the connection to end", func() bool { return srv.Stats().Disconnects["peer-gone"] == 1 })
}

// TestReadMoreThanATurn: a stream that is longer than a worker's buffer, and than one turn reads, arrives whole and
// in order, and delays nobody.
func TestReadMoreThanATurn(t *testing.T) {
	_, addr := newServer(t, Config{Workers: 1})
	large := string(bytes.Repeat([]byte("0123456789"), recvBytes*readsPerTurn/10+1))
	c := dial(t, addr)
	for i := range 3 {
		c.send(stream(fmt.Sprint("text before ", i), "binary "+large))
		c.expectText(fmt.Sprint("before ", i))
		c.expectFrame(ws.OpBinary, large)
		c.sendFrame(true, ws.OpPing, []byte("p"))
		c.expectFrame(ws.OpPong, "p")
	}
}

// TestTurnEnds: a turn ends with the recv in which it has become a long one, and bytes
// count, too.
func TestTurnEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		sends []byte
		recvs int
	}{
		"frames": {bytes.Repeat(clientFrame(nil, true, ws.OpPong, nil), recvBytes/6), 1},
		"bytes":  {clientFrame(nil, true, ws.OpBinary, make([]byte, 4*recvBytes)), readsPerTurn},
	} {
		srv := quietServer(t, Config{Shards: 1})
		srv.queue = &queue{} // Where the next turn would come from.
		k := &floodSockets{sends: tt.sends}
		srv.shards[0].sockets = k
		c := enroll(srv.shards[0], firstFD, srv.forms[0])
		c.acquire(0)
		w := newWorker()
		c.turn(w)
		if k.recvs != tt.recvs || !c.isCostly() {
			t.Errorf("%s: %d recvs, long %t, want %d and a long turn", name, k.recvs, c.isCostly(), tt.recvs)
		}
	}
}

// floodSockets fill each buffer with the next bytes of an endless stream.
type floodSockets struct {
	countingSockets
	sends []byte
	recvs int
}

func (k *floodSockets) recv(_ int, b []byte) (n int, _ unix.Errno) {
	k.recvs++
	for n < len(b) {
		m := copy(b[n:], k.sends)
		k.sends = append(k.sends[m:len(k.sends):len(k.sends)], k.sends[:m]...)
		n += m
	}
	return n, 0
}

// TestTurnIsLong: a connection whose bytes cost much is costly, as long as they do.
func TestTurnIsLong(t *testing.T) {
	var conn *Conn
	srv, addr := newServer(t, Config{
		Compress:  true,
		OnConnect: func(c *Conn, _ *http.Request) error { conn = c; return nil },
		OnMessage: func(*Conn, Message) (Message, bool) { return Message{}, false },
	})
	c, _ := dialDeflate(t, addr, deflateName)
	z := newCompressor(maxWindowBits)
	hello := clientFrame(nil, true, ws.OpText, []byte("hello"))
	inflates := func(n int) []byte { return frameWith(rsv1, true, ws.OpText, z.compress(make([]byte, n))) }
	for _, tt := range []struct {
		name   string
		frames []byte
		want   bool
	}{
		{"a message", hello, false},
		{"many frames", bytes.Repeat(clientFrame(nil, true, ws.OpPong, nil), longTurn+1), true},
		{"a message behind many frames", hello, false},
		{"what inflates to little", inflates(1000), false},
		{"what inflates to much", inflates(longTurn*inflatePerCost + 1), true},
		{"a message in the end", hello, false},
	} {
		c.send(clientFrame(tt.frames, true, ws.OpPing, []byte(tt.name)))
		for {
			if op, p, _ := c.readFrame(); op == ws.OpPong && string(p) == tt.name {
				break
			}
		}
		eventually(t, "the turn to be over", srv.queue.quiet)
		if got := conn.isCostly(); got != tt.want {
			t.Errorf("%s: costs much: got %t, want %t", tt.name, got, tt.want)
		}
	}
}
