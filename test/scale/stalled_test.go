package scale

import (
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/criertest"
)

// stall is a server of which some clients stop reading.
type stall struct {
	name               string
	slow               broadcast.SlowPolicy
	receivers, stalled int
	size               int // Of a message.
	// skipsAll: the stalled stay open. Otherwise, with SlowSkip, some are closed:
	// there is too much to keep of the frames that they are in.
	skipsAll bool
}

const (
	stallRetain = 1 << 20
	stallTotal  = 5 << 19 // Bytes published: retention, what a socket holds, and as much again.
	// Published at a time, and received by all before the next: less than the
	// retention, so that no receiver is lapped, and more than a socket takes at
	// once, so that the stalled stop in the middle of a frame.
	stallBatch = 1 << 18
	stallSpare = 4 << 20 // What the server may grow by beside the retention.
	// What a stalled one's sockets may hold: Config.UnsentBytes, what its receive
	// buffer holds, and what one send adds.
	stalledHolds = 256 << 10
	// A receiver's socket holds little, so that thousands do not fill the
	// kernel's memory, and a stalled one's as little as can be.
	receiverBuffer = 64 << 10
	stalledBuffer  = 4 << 10
)

// raceShadow is how many times as much RssAnon may grow under the race detector,
// which keeps a shadow of all memory that is touched. Measured: three times.
func raceShadow() int {
	if criertest.Race {
		return 4
	}
	return 1
}

func TestStalledReceivers(t *testing.T) {
	for _, st := range []stall{
		{name: "closed", slow: broadcast.SlowClose, receivers: 4500, stalled: 500, size: 16 << 10},
		{name: "skip", slow: broadcast.SlowSkip, receivers: 4500, stalled: 500, size: 250, skipsAll: true},
		{name: "skip, too much to keep", slow: broadcast.SlowSkip, receivers: 500, stalled: 500, size: 16 << 10},
	} {
		t.Run(st.name, st.run)
	}
}

func (st stall) run(t *testing.T) {
	needFDs(t, uint64(st.receivers+st.stalled))
	srv := startServer(t, childConfig{
		MaxMessageBytes: 64 << 10,
		RetainBytes:     stallRetain,
		Shards:          2, // What SlowSkip may keep is shared out between them.
		Slow:            st.slow,
		CloseTimeout:    time.Second,
	})
	sw := newSwarm(t, srv.port)
	tape := newTape()
	receivers := sw.receivers(st.receivers, receiverBuffer, tape)
	var ledgers []*ledger
	stalled := sw.add(st.stalled, stalledBuffer, func(c *client) {
		l := newLedger(true)
		ledgers = append(ledgers, l)
		c.sink = scan(l)
		c.mayEnd = true
	})
	sw.pause(stalled, true)

	srv.ask("trim")
	rss, peak, before := srv.rssAnon(), 0, sw.bytes
	count := st.publish(sw, receivers[0], func() { peak = max(peak, srv.rssAnon()) })
	t.Logf("RssAnon: %s before, %s at the most", mib(rss), mib(peak))
	if most := (stallRetain + stallSpare) * raceShadow(); peak-rss > most {
		t.Errorf("RssAnon grew by %s, want at most %s", mib(peak-rss), mib(most))
	}
	if err := tape.ledger.want(1, count); err != nil {
		t.Error(err)
	}
	held := int(srv.ask("stats").Stats.BytesOut) - (sw.bytes - before)
	t.Logf("sockets of a stalled client hold %d bytes", held/st.stalled)
	if held > st.stalled*stalledHolds {
		t.Fatalf("sockets of a stalled client hold %d bytes, want at most %d: the kernel is not told Config.UnsentBytes",
			held/st.stalled, stalledHolds)
	}
	if st.slow == broadcast.SlowClose {
		a := sw.settle("the stalled to be closed", srv, func(a answer) bool {
			return a.Stats.Open == st.receivers && sw.gone == st.stalled
		})
		st.checkReasons(t, a.Stats)
	} else {
		st.resume(t, sw, srv, stalled, ledgers, count)
	}
	if a := srv.ask("stats"); a.Heap > stallRetain+stallSpare {
		t.Errorf("heap is %s, want at most %s", mib(int(a.Heap)), mib(stallRetain+stallSpare))
	}
	sw.end()
	sw.settle("everyone to be gone", srv, func(a answer) bool { return a.Stats.Open == 0 && srv.fds() == srv.fdsIdle })
	srv.quit()
}

// publish sends batches of messages, and waits until the receivers have each batch. It returns the number of messages.
func (st stall) publish(sw *swarm, from *client, look func()) (count int) {
	sw.t.Helper()
	before := sw.bytes
	for count*st.size < stallTotal {
		for range stallBatch / st.size {
			sw.send(from, 0, count, st.size)
			count++
		}
		want := before + count*frameSize(st.size)*st.receivers
		sw.until("receivers to get a batch", func() bool {
			look()
			return sw.bytes >= want
		})
	}
	return count
}

// checkReasons checks that only stalled clients were closed, for the right reason.
func (st stall) checkReasons(t *testing.T, s broadcast.Stats) {
	t.Helper()
	t.Logf("open: %d, disconnects: %v, skips: %d", s.Open, s.Disconnects, s.Skips)
	slow := int(s.Disconnects["slow"])
	if s.Open+slow != st.receivers+st.stalled {
		t.Errorf("open %d, closed as slow %d of %d", s.Open, slow, st.receivers+st.stalled)
	}
	if st.slow == broadcast.SlowClose && slow != st.stalled {
		t.Errorf("closed as slow: %d, want %d", slow, st.stalled)
	}
	if st.slow == broadcast.SlowClose && s.Skips != 0 {
		t.Errorf("skips: %d, want none", s.Skips)
	}
	if st.slow == broadcast.SlowSkip && int(s.Skips) < s.Open-st.receivers {
		t.Errorf("skips: %d, want %d at least: one for each that is still open", s.Skips, s.Open-st.receivers)
	}
	if st.skipsAll && slow != 0 {
		t.Errorf("closed as slow: %d, want none", slow)
	}
}

// resume has the stalled clients read again, and checks that those that are still open receive the newest message.
func (st stall) resume(t *testing.T, sw *swarm, srv *server, stalled []*client, ledgers []*ledger, count int) {
	t.Helper()
	a := sw.settle("the closed to be gone", srv, func(a answer) bool {
		return a.Stats.Open+int(a.Stats.Disconnects["slow"]) == st.receivers+st.stalled && sw.opened == a.Stats.Open
	})
	st.checkReasons(t, a.Stats)
	var open []*client
	for _, c := range stalled {
		if c.phase == phaseOpen {
			open = append(open, c)
		}
	}
	if len(open) == 0 {
		t.Fatal("all of the stalled were closed, want some open")
	}
	sw.pause(open, false)
	all := 0
	for _, c := range open {
		l := ledgers[c.index-stalled[0].index]
		sw.until("the newest message", func() bool { return l.due[0] == count })
		if l.total == count {
			all++
		}
	}
	if all > 0 {
		t.Errorf("%d of %d got all messages, want some skipped", all, len(open))
	}
}
