package broadcast

import (
	"bytes"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// TestPingsAreSpread drives the keep-alive by hand, tick by tick: each
// connection gets one ping an interval, and no tick has many more than its share.
func TestPingsAreSpread(t *testing.T) {
	const conns = 1000
	interval := 10 * time.Second
	b := newBench(t, Config{PingInterval: interval, PingTimeout: -1}, conns)
	began := b.shard.srv.clock()
	b.shard.sweep = sweep{began: began}
	ticks := int(interval / tickEvery)
	pings := func() (n int) {
		for _, calls := range b.sink.calls {
			n += calls
		}
		return n
	}
	for i := range 3 * ticks {
		before := pings()
		b.shard.keepAlive(began + uint32(i+1)*milliseconds(tickEvery))
		if got, most := pings()-before, 2*conns/ticks; got > most {
			t.Errorf("tick %d: got %d pings, want at most %d", i, got, most)
		}
	}
	for i := range conns {
		b.expect(i, bytes.Repeat([]byte{0x89, 0}, 3))
	}
}

// TestPingsAfterALongPass: pings that were due during a long pass do not go out all at once.
func TestPingsAfterALongPass(t *testing.T) {
	const conns = 1000
	interval := 10 * time.Second
	tick := milliseconds(tickEvery)
	b := newBench(t, Config{PingInterval: interval, PingTimeout: -1}, conns)
	now := b.shard.srv.clock()
	b.shard.sweep = sweep{began: now}
	ticks := int(interval / tickEvery)
	for i := range 4 * ticks {
		before := len(b.sink.sent)
		if now += tick; i == ticks/2 {
			now += 8 * tick * uint32(ticks) / 10
		}
		b.shard.keepAlive(now)
		if got, most := len(b.sink.sent)-before, 2*conns/ticks; got > most {
			t.Errorf("tick %d: got %d pings, want at most %d", i, got, most)
		}
	}
	for i := range conns {
		if got := b.sink.calls[firstFD+i]; got < 3 {
			t.Errorf("connection %d: got %d pings in four intervals, want at least 3", i, got)
		}
	}
}

func TestPingTimeout(t *testing.T) {
	tests := []struct {
		name   string
		heard  func(round int) bool
		gone   int // the visit at which it is dropped, or -1
		rounds int
	}{
		{"silent: after two unanswered pings", func(int) bool { return false }, 2, 5},
		{"always heard", func(int) bool { return true }, -1, 5},
		{"every other ping answered", func(i int) bool { return i%2 == 0 }, -1, 9},
		{"falls silent", func(i int) bool { return i < 4 }, 6, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{PingInterval: 30 * time.Second}, 1)
			c := b.conns[0]
			gone := -1
			for i := range tt.rounds {
				b.shard.visit(c, 1+uint32(i)*30_000)
				if c.phase == phaseNone {
					gone = i
					break
				}
				if tt.heard(i) {
					c.set(heard)
				}
			}
			if gone != tt.gone {
				t.Errorf("dropped at visit %d, want %d", gone, tt.gone)
			}
			if tt.gone >= 0 && b.disconnects(ReasonPingTimeout) != 1 {
				t.Error("the disconnect is not counted as a ping timeout")
			}
		})
	}
}

func TestKeepAlive(t *testing.T) {
	srv, addr := newServer(t, Config{PingInterval: 700 * time.Millisecond})
	answers, unasked, silent := dial(t, addr), dial(t, addr), dial(t, addr)
	for silentGone := false; !silentGone; {
		op, _, _ := answers.readFrame()
		if op != ws.OpPing {
			t.Fatalf("got op %d, want a ping", op)
		}
		answers.sendFrame(true, ws.OpPong, nil)
		unasked.sendFrame(true, ws.OpPong, []byte("by myself")) // As .NET does.
		silentGone = srv.Stats().Disconnects["ping-timeout"] == 1
	}
	if got := srv.Stats().Open; got != 2 {
		t.Errorf("open: got %d, want 2: those that show life", got)
	}
	_ = silent
}

func TestNoPings(t *testing.T) {
	b := newBench(t, Config{}, 10)
	b.shard.ticked.Store(true)
	for range 5 {
		b.shard.tick()
	}
	if got := len(b.sink.calls); got != 0 {
		t.Errorf("got %d pings, want none with an interval of 0", got)
	}
}
