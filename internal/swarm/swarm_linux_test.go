package swarm

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"golang.org/x/sys/unix"
)

func nothing(*Config) {}

func timed(c *Config) { c.Timed = true }

// wantDelivered checks that all came, to n connections, and nothing else.
func wantDelivered(t *testing.T, s *Swarm, messages, conns int) *Stats {
	t.Helper()
	got := statsOf(t, s)
	want := Counts{Open: conns, Sent: messages, Delivered: messages * conns, Pings: got.Pings}
	if got.Counts != want || got.Error != "" {
		t.Errorf("got %+v, %q, want %+v", got.Counts, got.Error, want)
	}
	return got
}

func TestBroadcast(t *testing.T) {
	forShapes(t, func(c *Config) { c.Timed, c.Strict = true, true }, func(t *testing.T, s *Swarm) {
		var sent int
		for _, n := range []int{1, 10, 3, 4} {
			must(t, s.Broadcast(n))
			sent += n
		}
		got := wantDelivered(t, s, sent, 20)
		if n := int(got.Latency.TotalCount()); n != sent*20 {
			t.Errorf("got %d latencies, want %d", n, sent*20)
		}
		if got.Connect.TotalCount() != 20 || got.Late.TotalCount() != 0 {
			t.Errorf("got %d times of connecting and %d of sending, want 20 and none", got.Connect.TotalCount(), got.Late.TotalCount())
		}
		if got.First <= 0 || got.Last < got.First || got.CPU <= 0 || got.Wall <= 0 || got.Busy <= 0 {
			t.Errorf("got first %v, last %v, CPU %v in %v, busy %v, want more than 0", got.First, got.Last, got.CPU, got.Wall, got.Busy)
		}
		if tally, err := s.Tally(0, 20); err != nil || tally != (Tally{Whole: 20}) {
			t.Errorf("got %+v, %v, want all whole", tally, err)
		}
	})
}

func TestSendAndSettle(t *testing.T) {
	forShapes(t, timed, func(t *testing.T, s *Swarm) {
		must(t, s.Send(Load{Messages: 50, Rate: 1000, Burst: 5}))
		must(t, s.Settle(patience))
		must(t, s.Send(Load{Messages: 7, Rate: 1e6}))
		must(t, s.Settle(patience))
		got := wantDelivered(t, s, 57, 20)
		if n := got.Latency.TotalCount(); n != 57*20 {
			t.Errorf("got %d latencies, want %d", n, 57*20)
		}
		if n := got.Late.TotalCount(); n != 57 {
			t.Errorf("got %d times of sending, want 57", n)
		}
	})
}

func TestShrinkAndGrow(t *testing.T) {
	forShapes(t, nothing, func(t *testing.T, s *Swarm) {
		must(t, s.Broadcast(3))
		must(t, s.Shrink(9))
		if got := statsOf(t, s).Open; got != 9 {
			t.Fatalf("shrunk: got %d open, want 9", got)
		}
		must(t, s.Broadcast(3))
		must(t, s.Grow(17))
		must(t, s.Broadcast(3))
		got := statsOf(t, s)
		if want := (Counts{Open: 17, Sent: 9, Delivered: 3*20 + 3*9 + 3*17}); got.Counts != want {
			t.Errorf("got %+v, want %+v", got.Counts, want)
		}
		// Conns is the most.
		if err := s.Grow(1000); err != nil || statsOf(t, s).Open != 20 {
			t.Errorf("got %v, %d open, want 20", err, statsOf(t, s).Open)
		}
		if tally, err := s.Tally(0, 20); err != nil || tally != (Tally{Whole: 20}) {
			t.Errorf("got %+v, %v, want all whole", tally, err)
		}
	})
}

func TestStallAndResume(t *testing.T) {
	forShapes(t, nothing, func(t *testing.T, s *Swarm) {
		must(t, s.Stall(5))
		must(t, s.Broadcast(8))
		if got, want := statsOf(t, s).Counts, (Counts{Open: 20, Sent: 8, Delivered: 8 * 15}); got != want {
			t.Errorf("stalled: got %+v, want %+v", got, want)
		}
		must(t, s.Settle(time.Nanosecond))
		healthy, err := s.Tally(0, 15)
		if err != nil || healthy != (Tally{Whole: 15}) {
			t.Errorf("got %+v, %v, want 15 whole", healthy, err)
		}
		if slow, err := s.Tally(15, 20); err != nil || slow != (Tally{Lacking: 5}) {
			t.Errorf("got %+v, %v, want 5 that lack", slow, err)
		}
		must(t, s.Resume())
		must(t, s.Settle(patience))
		wantDelivered(t, s, 8, 20)
		if all, err := s.Tally(0, 20); err != nil || all != (Tally{Whole: 20}) {
			t.Errorf("got %+v, %v, want all whole", all, err)
		}
	})
}

// Those that do not read are lapped, and the server closes them.
func TestStallUntilClosed(t *testing.T) {
	cfg := forCrier(crier(t, "127.0.0.1:0", broadcast.Config{RetainBytes: 64 << 10, UnsentBytes: 4096, MaxMessageBytes: 16 << 10}), 6)
	cfg.Size, cfg.Threads = 16<<10, 2
	s := grown(t, cfg)
	must(t, s.Stall(2))
	var sent int
	for end := time.Now().Add(patience); ; {
		must(t, s.Broadcast(1))
		sent++
		if sent%500 != 0 {
			continue
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		if statsOf(t, s).Dropped == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the server closes nobody")
		}
		must(t, s.Settle(patience))
		must(t, s.Stall(2))
	}
	must(t, s.Settle(patience))
	tally, err := s.Tally(4, 6)
	if err != nil || tally != (Tally{Dropped: 2}) {
		t.Errorf("stalled: got %+v, %v, want 2 dropped", tally, err)
	}
	if tally, err := s.Tally(0, 4); err != nil || tally != (Tally{Whole: 4}) {
		t.Errorf("others: got %+v, %v, want 4 whole", tally, err)
	}
	if got := statsOf(t, s); got.Open != 4 || got.Duplicated+got.Reordered+got.Corrupted != 0 || got.Lost == 0 || got.Error == "" {
		t.Errorf("got %+v, %q", got.Counts, got.Error)
	}
}

// Those that are renewed while messages are under way get all from their first on.
func TestChurn(t *testing.T) {
	forShapes(t, nothing, func(t *testing.T, s *Swarm) {
		for range 4 {
			must(t, s.Send(Load{Messages: 60, Rate: 600, Churn: 200}))
			must(t, s.Settle(patience))
		}
		restUntil(t, s, func(c Counts) bool { return c.Open == 20 })
		must(t, s.Broadcast(10))
		got := statsOf(t, s)
		if got.Renewed < 10 || got.Faults() != 0 || got.Dropped != 0 || got.Error != "" {
			t.Errorf("got %+v, %q, want some renewed and no faults", got.Counts, got.Error)
		}
		if tally, err := s.Tally(0, 20); err != nil || tally != (Tally{Whole: 20}) {
			t.Errorf("got %+v, %v, want all whole", tally, err)
		}
	})
}

func TestPingsOfCrier(t *testing.T) {
	cfg := forCrier(crier(t, "127.0.0.1:0", broadcast.Config{PingInterval: 20 * time.Millisecond, PingTimeout: -1}), 4)
	cfg.Threads = 2
	s := grown(t, cfg)
	within(t, "pinged", func() bool { return s.Progress().Pings >= 8 })
	must(t, s.Broadcast(1))
	wantDelivered(t, s, 1, 4)
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	_ = l.Close()
	cfg := forCrier(crier(t, "[::1]:0", broadcast.Config{}), 3)
	if !cfg.Target.Addr().Is6() {
		t.Fatalf("got %v, want an address of IPv6", cfg.Target)
	}
	s := grown(t, cfg)
	must(t, s.Broadcast(2))
	wantDelivered(t, s, 2, 3)
}

// A payload fills more than one buffer.
func TestLargestSize(t *testing.T) {
	cfg := forCrier(unloaded(t), 2)
	cfg.Size, cfg.Senders = MaxSize, 2
	s := grown(t, cfg)
	must(t, s.Broadcast(4))
	wantDelivered(t, s, 4, 2)
}

// Any goroutine may ask how far it is, and interrupt.
func TestProgressMeanwhile(t *testing.T) {
	forShapes(t, nothing, func(t *testing.T, s *Swarm) {
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		defer all.Wait()
		defer stop()
		// Ends with stop.
		all.Go(func() {
			for ctx.Err() == nil {
				if got := s.Progress(); got.Open > 20 || got.Delivered > 100*20 || got.Delivered < 0 {
					t.Errorf("got %+v, want at most 20 open, %d delivered", got, 100*20)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
		for range 10 {
			must(t, s.Broadcast(10))
		}
		if got, want := s.Progress(), (Counts{Open: 20, Sent: 100, Delivered: 100 * 20}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestClose(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			target := fake(t, func(_ int, c net.Conn) { untilEnd(c) })
			cfg := config(target, shape.conns)
			cfg.Threads, cfg.PerProcess = shape.threads, shape.per
			fds, goroutines := footprint()
			s := start(t, cfg)
			must(t, s.Grow(shape.conns))
			children := processes(s)
			var all sync.WaitGroup
			// Ends as Close does; neither may harm the other.
			all.Go(func() {
				for range 100 {
					s.Progress()
					s.Interrupt()
				}
			})
			s.Close()
			all.Wait()
			s.Close()
			s.Interrupt()
			if got := s.Progress(); got != (Counts{}) {
				t.Errorf("got %+v, want nothing", got)
			}
			for _, p := range children {
				if p.cmd.ProcessState == nil || !p.cmd.ProcessState.Success() {
					t.Errorf("got %v, want a child that ended well", p.cmd.ProcessState)
				}
			}
			within(t, "back to what was open before", func() bool {
				nowFDs, nowGoroutines := footprint()
				return nowFDs <= fds && nowGoroutines <= goroutines
			})
		})
	}
}

// A swarm of which a part cannot be made leaves nothing.
func TestTooFewDescriptors(t *testing.T) {
	fds, goroutines := footprint()
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	for spare := range uint64(12) {
		for _, per := range []int{4, 1} {
			if per == 1 && spare%4 > 0 {
				continue // Child processes take their time.
			}
			cfg := config(netip.MustParseAddrPort("127.0.0.1:1"), 4)
			cfg.Threads, cfg.PerProcess = 8, per
			less := limit
			less.Cur = uint64(fds) + spare
			must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &less))
			s, err := New(cfg)
			must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
			if !errors.Is(err, unix.EMFILE) {
				t.Errorf("%d to spare: got %v, want %v", spare, err, unix.EMFILE)
			}
			if err == nil {
				s.Close()
			}
		}
	}
	within(t, "back to what was open before", func() bool {
		nowFDs, nowGoroutines := footprint()
		return nowFDs <= fds && nowGoroutines <= goroutines
	})
}
