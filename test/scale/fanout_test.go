package scale

import (
	"runtime"
	"testing"
)

// Ten thousand receivers get every message of ten senders, whole and in one
// order, and the server has no goroutine more than for a hundred.
func TestTenThousandReceivers(t *testing.T) {
	const (
		few, many = 100, 10_000
		senders   = 10
		each      = 100 // Messages of one sender.
		size      = 120 // Of a message.
		perConn   = 256 // Bytes of heap, at most; DESIGN.md has 192 at a million.
		keeps     = 1 << 20
		perRound  = 2
	)
	needFDs(t, many)
	srv := startServer(t, childConfig{})
	idle := srv.ask("trim")
	tape := newTape()
	sw := newSwarm(t, srv.port)

	sw.receivers(few, 0, tape)
	atFew := srv.ask("stats")
	sw.receivers(many-few, 0, tape)
	atMany := sw.settle("all to be open", srv, func(a answer) bool { return a.Stats.Open == many })
	t.Logf("goroutines: %d idle, %d at %d, %d at %d, and up to %d in the pool", idle.Goroutines,
		atFew.Goroutines, few, atMany.Goroutines, many, atMany.Pool)
	if atFew.Goroutines != idle.Goroutines || atMany.Goroutines != idle.Goroutines {
		t.Errorf("goroutines are %d without connections, %d at %d, %d at %d, want no change", idle.Goroutines,
			atFew.Goroutines, few, atMany.Goroutines, many)
	}
	perConnection := (int(atMany.Heap) - int(idle.Heap)) / many
	t.Logf("heap per connection: %d bytes", perConnection)
	if perConnection > perConn {
		t.Errorf("heap per connection is %d bytes, want at most %d", perConnection, perConn)
	}

	for from := 0; from < each; from += perRound {
		for i := range senders * perRound {
			sender := i % senders
			sw.send(sw.clients[sender*(many/senders)], sender, from+i/senders, size)
		}
		// The next ones come in the middle of passes over these.
		half := many / 2 * (from + perRound) * senders * frameSize(size)
		sw.until("half of a round", func() bool { return sw.bytes >= half })
	}
	total := senders * each * frameSize(size)
	sw.until("everyone to get everything", func() bool { return sw.bytes >= many*total })
	if err := tape.ledger.want(senders, each); err != nil {
		t.Error(err)
	}
	if sw.bytes != many*total || len(tape.recorded) != total {
		t.Errorf("received %d bytes and %d at the most, want %d and %d", sw.bytes, len(tape.recorded), many*total, total)
	}
	after := srv.ask("stats")
	t.Logf("messages: %d, writes: %d, goroutines in the pool: %d", after.Stats.Messages, after.Stats.Writes, after.Pool)
	if want := 2 * runtime.GOMAXPROCS(0); idle.Pool != want || after.Pool != want { // Config.Workers.
		t.Errorf("goroutines in the pool are %d without connections, %d at last, want %d", idle.Pool, after.Pool, want)
	}
	if after.Goroutines != idle.Goroutines {
		t.Errorf("goroutines are %d after the messages, want %d", after.Goroutines, idle.Goroutines)
	}

	sw.end()
	end := sw.settle("the server to let go of everyone", srv, func(a answer) bool {
		return a.Stats.Open == 0 && a.Goroutines == idle.Goroutines && srv.fds() == srv.fdsIdle
	})
	t.Logf("heap: %s idle, %s at %d, %s after", mib(int(idle.Heap)), mib(int(atMany.Heap)), many, mib(int(end.Heap)))
	if end.Heap > idle.Heap+uint64(2*total)+keeps {
		t.Errorf("heap grew from %d to %d bytes, want at most the log and %d more", idle.Heap, end.Heap, keeps)
	}
	srv.quit()
}
