package swarm

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// Pings are answered, also by the thread of a loop while nobody calls.
func TestPings(t *testing.T) {
	for _, threads := range []int{1, 2} {
		pongs := make(chan string, 1)
		now := make(chan struct{})
		target := fake(t, func(client int, c net.Conn) {
			if client == 0 {
				<-now
				put(c, []byte{0x89, 2, 'h', 'i'})
				b := make([]byte, 8)
				_, _ = io.ReadFull(c, b)
				pongs <- string(b)
			}
			untilEnd(c)
		})
		cfg := config(target, 2)
		cfg.Threads = threads
		s := grown(t, cfg)
		close(now)
		if threads == 1 {
			restUntil(t, s, func(c Counts) bool { return c.Pings == 1 })
		}
		if got, want := <-pongs, "\x8a\x82\x00\x00\x00\x00hi"; got != want {
			t.Errorf("%d threads: got %q, want %q", threads, got, want)
		}
		if got := statsOf(t, s).Pings; got != 1 {
			t.Errorf("%d threads: got %d pings, want 1", threads, got)
		}
	}
}

// A server that pings and never reads does not fill the swarm's memory.
func TestPingsOfOneThatDoesNotRead(t *testing.T) {
	l := unconnected(t, 1, 1)
	c := l.conns[0]
	pings := bytes.Repeat(append([]byte{0x89, 125}, make([]byte, 125)...), 1000)
	for range 100 {
		must(t, l.received(0, pings))
	}
	if l.stats.Pings != 100000 || len(c.outbox) == 0 || len(c.outbox) > maxUnread+200 {
		t.Errorf("got %d pings and %d bytes, want 100000 and at most %d", l.stats.Pings, len(c.outbox), maxUnread)
	}
}

// A server that does not read for a while gets everything, in order.
func TestOutbox(t *testing.T) {
	const many = 10
	cfg := Config{Greeting: "hi", Conns: 1, Size: 1 << 20, Patience: patience}
	now := make(chan struct{})
	cfg.Target = fake(t, func(_ int, c net.Conn) {
		<-now
		r := io.TeeReader(c, io.Discard)
		for seq := range uint64(many) {
			want := message{0, seq}.appendFrame(nil, cfg.Size)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("message %d: got other bytes, %v", seq, err)
				return
			}
			put(c, serverFrame(message{0, seq}, cfg.Size))
		}
		untilEnd(c)
	})
	s := grown(t, cfg)
	must(t, s.Send(Load{Messages: many / 2, Rate: 1e9}))
	must(t, s.Send(Load{Messages: many / 2, Rate: 1e9}))
	c := s.members[0].(*loop).conns[0]
	if len(c.outbox) == 0 {
		t.Error("got nothing in the outbox: the test is none")
	}
	close(now)
	must(t, s.Settle(patience))
	if got := statsOf(t, s); got.Delivered != many || got.Faults() != 0 || c.outbox != nil {
		t.Errorf("got %+v and %d bytes in the outbox, want %d delivered and none", got.Counts, len(c.outbox), many)
	}
}

// A connection that does not read is not owed anything for the time being; closed
// meanwhile it is owed nothing any more.
func TestStalledAndClosed(t *testing.T) {
	now := make(chan struct{})
	target := fake(t, func(client int, c net.Conn) {
		if client == 0 {
			receive(c, 2)
			put(c, of(0), of(1))
			untilEnd(c)
			return
		}
		<-now
		put(c, of(0), []byte("\x88\x06\x03\xf0slow"))
		untilEnd(c)
	})
	s := start(t, config(target, 2))
	must(t, s.Grow(1))
	must(t, s.Grow(2))
	must(t, s.Stall(1))
	must(t, s.Broadcast(2))
	close(now)
	must(t, s.Rest(time.Millisecond))
	if got := statsOf(t, s); got.Delivered != 2 || got.Dropped != 0 {
		t.Errorf("stalled: got %+v, want 2 delivered", got.Counts)
	}
	must(t, s.Resume())
	restUntil(t, s, func(c Counts) bool { return c.Dropped == 1 })
	must(t, s.Settle(time.Hour)) // at once, as nothing is owed
	got := statsOf(t, s)
	if got.Delivered != 3 || got.Lost != 1 || got.Error != `connection 1: closed by the server with 1008 "slow"` {
		t.Errorf("resumed: got %+v, %q, want 3 delivered, 1 lost, closed with 1008", got.Counts, got.Error)
	}
	if tally, err := s.Tally(1, 2); err != nil || tally != (Tally{Dropped: 1}) {
		t.Errorf("got %+v, %v, want one dropped", tally, err)
	}
}

// A connection that does not read, and breaks as it sends, is owed nothing any more.
func TestStalledSenderThatBreaks(t *testing.T) {
	l := unconnected(t, 1, 2)
	l.begin(schedule{Total: 3, Burst: 3, Start: clock()})
	l.stall(4, 4)
	l.end(0)
	must(t, l.resume())
	deliverAll(t, l, 1, message{0, 0}, message{0, 1}, message{0, 2})
	if l.owed != 0 {
		t.Errorf("got %d owed, want 0", l.owed)
	}
}
