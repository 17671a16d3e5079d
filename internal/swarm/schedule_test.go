package swarm

import (
	"errors"
	"math"
	"net"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	s := schedule{First: 10, Total: 7, Burst: 3, Start: time.Hour, Interval: time.Second}
	for n, want := range map[int]time.Duration{0: 0, 9: 0, 10: 0, 12: 0, 13: 1, 15: 1, 16: 2, 17: 2, 19: 3} {
		if got := s.due(n); got != time.Hour+want*time.Second {
			t.Errorf("%d: got %v, want %d s after the start", n, got-time.Hour, want)
		}
	}
	if got := s.end(); got != 17 {
		t.Errorf("end: got %d, want 17", got)
	}
}

func TestNumbers(t *testing.T) {
	for _, senders := range []int{1, 2, 3, 7} {
		l := &loop{cfg: &Config{Senders: senders}}
		before := make([]uint64, senders) // messages of each sender
		for n := range 50 {
			for sender := range senders {
				if got := l.seqAt(sender, n); got != before[sender] {
					t.Errorf("%d senders, sender %d before message %d: got %d, want %d", senders, sender, n, got, before[sender])
				}
			}
			m := message{uint32(n % senders), before[n%senders]}
			if got := l.number(m); got != n {
				t.Errorf("%d senders, %v: got number %d, want %d", senders, m, got, n)
			}
			before[n%senders]++
		}
	}
}

// What is due is sent, and no more. The interval is so long that the test cannot take
// another one.
func TestSendsWhatIsDue(t *testing.T) {
	tests := []struct {
		name                    string
		total, burst, intervals int
		want                    int
		done                    bool
	}{
		{"the first", 100, 1, 0, 1, false},
		{"several", 100, 1, 10, 11, false},
		{"bursts", 100, 7, 2, 21, false},
		{"bursts of which the last is smaller", 20, 7, 2, 20, true},
		{"all", 100, 1, 1000, 100, true},
		{"not yet", 100, 1, -1, 0, false},
		{"none", 0, 1, 5, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(fake(t, func(_ int, c net.Conn) { untilEnd(c) }), 2)
			cfg.Senders = 2
			s := grown(t, cfg)
			l := s.members[0].(*loop)
			const interval = time.Hour
			start := clock() - time.Duration(tt.intervals)*interval
			if tt.intervals < 0 {
				start += time.Minute // an hour and a minute ahead
			}
			l.begin(schedule{Total: tt.total, Burst: tt.burst, Interval: interval, Start: start})
			wait, err := l.sendDue()
			for err == nil && wait == 0 { // some of many
				wait, err = l.sendDue()
			}
			must(t, err)
			if l.stats.Sent != tt.want || (wait < 0) != tt.done {
				t.Errorf("got %d sent and %v to wait, want %d, done %v", l.stats.Sent, wait, tt.want, tt.done)
			}
			if !tt.done && tt.intervals >= 0 && (wait < interval-10*time.Minute || wait > interval) {
				t.Errorf("got %v to wait, want about %v", wait, interval)
			}
			if got := int(l.stats.Late.TotalCount()); got != tt.want {
				t.Errorf("got %d times of sending, want %d", got, tt.want)
			}
			// The one that was sent in time is the last, the others were late.
			if late := l.stats.Late.At(1); tt.intervals == 10 && late < interval/2 {
				t.Errorf("got at most %v late, want about an hour at the most that counts", late)
			}
		})
	}
}

func TestRateAndBurst(t *testing.T) {
	tests := []struct {
		load     Load
		interval time.Duration
	}{
		{Load{Messages: 1, Rate: 1000}, time.Millisecond},
		{Load{Messages: 1, Rate: 1000, Burst: 50}, 50 * time.Millisecond},
		{Load{Messages: 1, Rate: 0.5, Burst: 3}, 6 * time.Second},
		{Load{Messages: 1, Rate: math.Inf(1)}, 0},
	}
	for _, tt := range tests {
		s := grown(t, config(fake(t, func(_ int, c net.Conn) { untilEnd(c) }), 1))
		must(t, s.Send(tt.load))
		if got := s.members[0].(*loop).plan; got.Interval != tt.interval || got.Burst != max(tt.load.Burst, 1) {
			t.Errorf("%+v: got a burst of %d each %v, want one each %v", tt.load, got.Burst, got.Interval, tt.interval)
		}
	}
}

func TestLoadThatIsNone(t *testing.T) {
	s := grown(t, config(fake(t, func(_ int, c net.Conn) { untilEnd(c) }), 1))
	for _, l := range []Load{
		{Messages: 1}, {Messages: 1, Rate: -1}, {Messages: 1, Rate: math.NaN()},
		{Messages: -1, Rate: 1}, {Messages: 1, Rate: 1, Churn: -1}, {Messages: 1, Rate: 1, Churn: math.NaN()},
	} {
		if err := s.Send(l); err == nil {
			t.Errorf("%+v: got no error", l)
		}
	}
	must(t, s.Send(Load{Rate: 1}))
	must(t, s.Broadcast(0))
	if got := statsOf(t, s).Sent; got != 0 {
		t.Errorf("got %d sent, want 0", got)
	}
}

// A message of before comes in a schedule that has none.
func TestLateDeliveryAmongNoMessages(t *testing.T) {
	cfg := config(fake(t, afterMessages(1, of(0))), 1)
	cfg.Timed = true
	s := grown(t, cfg)
	must(t, s.Send(Load{Messages: 1, Rate: 1}))
	must(t, s.Broadcast(0))
	if got := statsOf(t, s); got.Delivered != 1 || got.Faults() != 0 || got.Latency.TotalCount() != 1 {
		t.Errorf("got %+v, want one delivered", got.Counts)
	}
}

// A server that holds everything back cannot hide it by holding back the sender too, and
// neither can a swarm that is behind.
func TestLatencyCountsFromWhenDue(t *testing.T) {
	const held = 200 * time.Millisecond
	target := fake(t, func(_ int, c net.Conn) {
		receive(c, 3)
		time.Sleep(held)
		put(c, of(0), of(1), of(2), ping)
		untilEnd(c)
	})
	cfg := config(target, 1)
	cfg.Timed = true
	s := grown(t, cfg)
	must(t, s.Broadcast(3))
	got := statsOf(t, s)
	if p50 := got.Latency.At(0.5); p50 < held || got.First < held || got.Last < got.First {
		t.Errorf("got p50 %v, first %v, last %v, want at least %v", p50, got.First, got.Last, held)
	}
	if n := got.Latency.TotalCount(); n != 3 {
		t.Errorf("got %d latencies, want 3", n)
	}
	if late := got.Late.At(1); got.Limited() != (late > 10*time.Millisecond || got.Busy > 0.9) {
		t.Errorf("got limited %v with %v late and %v busy", got.Limited(), late, got.Busy)
	}
}

func TestSwarmThatIsBehind(t *testing.T) {
	cfg := config(fake(t, afterMessages(2, of(0), of(1))), 1)
	cfg.Timed = true
	s := grown(t, cfg)
	l := s.members[0].(*loop)
	plan := s.plan(2, 1)
	plan.Start -= time.Minute
	plan.Interval = 10 * time.Second
	must(t, l.do(order{Op: opSend, Plan: plan, Await: true}).Err)
	got := statsOf(t, s)
	if least := got.Latency.At(0); least < 49*time.Second || got.Late.At(0) < 49*time.Second {
		t.Errorf("got latencies from %v, late from %v, want 50 s", least, got.Late.At(0))
	}
	if got.First < time.Minute-time.Second || got.Last < got.First {
		t.Errorf("got first %v, last %v, want a minute", got.First, got.Last)
	}
	if !got.Limited() {
		t.Error("got a swarm that was not limited")
	}
}

// What is lost counts with the time that it was waited for.
func TestLatencyOfTheLost(t *testing.T) {
	cfg := config(fake(t, afterMessages(3, of(1), ping)), 1)
	cfg.Timed = true
	s := grown(t, cfg)
	l := s.members[0].(*loop)
	plan := s.plan(3, 3)
	plan.Start -= time.Minute
	must(t, l.do(order{Op: opSend, Plan: plan}).Err)
	restUntil(t, s, func(c Counts) bool { return c.Pings == 1 })
	must(t, s.Settle(0))
	must(t, s.Send(Load{Rate: 1}))
	must(t, s.Settle(0))
	got := statsOf(t, s)
	if n := got.Latency.TotalCount(); n != 3 || got.Latency.At(0) < 59*time.Second || got.Lost != 2 {
		t.Errorf("got %d latencies from %v and %d lost, want 3 from a minute and 2", n, got.Latency.At(0), got.Lost)
	}
}

func TestInterruptWhileBehind(t *testing.T) {
	s := grown(t, config(fake(t, func(_ int, c net.Conn) { untilEnd(c) }), 1))
	s.Interrupt()
	if err := s.Send(Load{Messages: 1 << 40, Rate: math.Inf(1)}); !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v, want %v", err, ErrInterrupted)
	}
}
