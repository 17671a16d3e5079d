package broadcast

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// Situations in which two things happen at the same time, each made to happen
// in the order that is worst.

// TestWritableInThePassThatLaps: the writable event of a blocked connection is handled within the pass whose view no
// longer holds its bytes, before the pass reaches the connection.
func TestWritableInThePassThatLaps(t *testing.T) {
	for _, policy := range []SlowPolicy{SlowClose, SlowSkip} {
		b := newBench(t, Config{RetainBytes: minRetain, Slow: policy}, 2)
		slow := b.conns[1]
		full := true
		b.sink.room = func(fd, n int) (int, unix.Errno) {
			if fd == firstFD+1 && full {
				return 0, unix.EAGAIN
			}
			return n, 0
		}
		b.publish("one")
		b.run()
		for range 20 {
			b.publish(strings.Repeat("x", 16<<10))
		}
		b.run() // Offered: the next message drops them.
		full = false
		b.publish("newest")
		if slow.phase != phaseOpen || !slow.takeFlag(wantOut) {
			t.Fatal("the slow one is not blocked and open: the test shows nothing")
		}
		b.shard.post(slow, postWritable, 0, nil)
		b.run()
		want := texts("newest")
		if policy == SlowClose {
			want = appendClose(nil, ws.StatusPolicyViolation, "too slow: messages were lost")
		}
		b.expect(1, want)
	}
}

// TestOpenedLate: a worker takes a connection's place in the log and is delayed. The log has dropped that place when
// the worker posts opened.
func TestOpenedLate(t *testing.T) {
	b := newBench(t, Config{RetainBytes: minRetain}, 0)
	c := enroll(b.shard, firstFD, b.shard.srv.forms[0])
	c.phase = phaseNone
	b.conns = append(b.conns, c)
	for range 40 {
		b.publish(strings.Repeat("x", 16<<10))
		b.run()
	}
	b.shard.post(c, postOpened, 0, newMail())
	b.run()
	if c.phase != phaseOpen || c.cursor != b.look().Head {
		t.Fatalf("phase %d, cursor %d, want open, %d", c.phase, c.cursor, b.look().Head)
	}
	if got := b.sink.sent[firstFD].Bytes(); string(got[:2]) != string(texts(strings.Repeat("x", 16<<10))[:2]) {
		t.Errorf("starts with %s, want a frame's header", brief(got))
	}
}

// TestSteadySlowReader: a connection whose socket is full at each visit of the keep-alive, but whose peer reads in
// between, lives.
func TestSteadySlowReader(t *testing.T) {
	b := newBench(t, Config{PingInterval: time.Second}, 1)
	c := b.conns[0]
	for i := range 6 {
		b.publish("a message that is longer than five bytes")
		b.stall(5 * i)
		b.run()
		b.stall(5*i + 5)
		b.writable(c)
		b.shard.visit(c, 1+1000*uint32(i))
	}
	if c.phase != phaseOpen {
		t.Errorf("dropped with reason %v", c.why)
	}
}

func TestHeldPublisherIsNotPingedOut(t *testing.T) {
	b := newBench(t, Config{PingInterval: time.Second}, 1)
	c := b.conns[0]
	c.acquire(0)
	for i := range 6 {
		b.shard.visit(c, 1+1000*uint32(i))
	}
	if c.phase != phaseOpen {
		t.Errorf("dropped with reason %v", c.why)
	}
	c.relinquish()
}

func TestDrainBeginsAfterTheTick(t *testing.T) {
	b := newBench(t, Config{DrainTime: 10 * time.Second}, 5000)
	now := b.shard.srv.clock()
	b.shard.srv.drainBegan.Store(now + 5)
	b.shard.drain(now)
	if got := len(b.shard.closing); got > 1 {
		t.Errorf("closed %d of 5000 at once", got)
	}
}

// TestPanicAfterTheEnd: the shard ends a connection while a hook runs, and then the hook panics.
func TestPanicAfterTheEnd(t *testing.T) {
	in, gate, ended := make(chan struct{}), make(chan struct{}), make(chan Reason, 1)
	srv, addr := newServer(t, Config{
		OnMessage: func(*Conn, Message) (Message, bool) {
			close(in)
			<-gate
			panic("late")
		},
		OnDisconnect: func(_ *Conn, why Reason) { ended <- why },
	})
	c := dial(t, addr)
	c.sendText("x")
	<-in
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "the shard to notice", func() bool {
		srv.appendToLogs(srv.root, Message{Text, []byte("hi")}, 0)
		srv.root.wake(0)
		return srv.Stats().Open == 0
	})
	close(gate)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("OnDisconnect was not called")
	}
}

func TestPanicAfterTheHandshakeTimeout(t *testing.T) {
	gate := make(chan struct{})
	srv, addr := newServer(t, Config{
		HandshakeTimeout: 10 * time.Millisecond,
		OnConnect:        func(*Conn, *http.Request) error { <-gate; panic("late") },
	})
	c := connect(t, addr)
	c.send([]byte(handshakeHead))
	eventually(t, "the timeout", func() bool { st := srv.Stats(); return st.Accepted == 1 && st.Handshakes == 0 })
	close(gate)
	c.deadline()
	// The clock may have had no time yet to close it when the hook panics.
	if got, _ := io.ReadAll(c.br); len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 408 ") {
		t.Errorf("got %q, want the connection closed, with 408 or nothing", got)
	}
}

// TestGoexitInAHook: the worker continues, and no peer gets the pong of another.
func TestGoexitInAHook(t *testing.T) {
	_, addr := newServer(t, Config{Workers: 1, OnMessage: func(_ *Conn, m Message) (Message, bool) {
		if string(m.Payload) == "exit" {
			runtime.Goexit()
		}
		return m, true
	}})
	other := dial(t, addr)
	for range 100 {
		c := dial(t, addr)
		c.send(clientFrame(clientFrame(nil, true, ws.OpPing, []byte("secret")), true, ws.OpText, []byte("exit")))
		other.sendFrame(true, ws.OpPing, []byte("mine"))
		other.expectFrame(ws.OpPong, "mine")
		c.Close()
	}
}

func TestTypedNilRefusal(t *testing.T) {
	_, addr := newServer(t, Config{OnConnect: func(*Conn, *http.Request) error {
		var none *Refusal
		return none
	}})
	c := connect(t, addr)
	c.send([]byte(handshakeHead))
	if r := c.readResponse(); r.StatusCode != http.StatusInternalServerError {
		t.Errorf("got %d, want 500: an error that is not nil refuses", r.StatusCode)
	}
}
