package swarm

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crier-ws/crier/broadcast"
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

// silent is a server that greets and sends nothing. It says when messages came.
func silent(t *testing.T) (cfg Config, came chan struct{}) {
	came = make(chan struct{}, 1000)
	target := fake(t, func(_ int, c net.Conn) {
		b := make([]byte, 1000)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			came <- struct{}{}
		}
	})
	return config(target, 6), came
}

func TestInterrupt(t *testing.T) {
	calls := []struct {
		name string
		do   func(s *Swarm, interrupt func()) error
	}{
		{"broadcast", func(s *Swarm, interrupt func()) error { return s.Broadcast(3) }},
		{"rest", func(s *Swarm, interrupt func()) error { interrupt(); return s.Rest(time.Hour) }},
		{"settle", func(s *Swarm, interrupt func()) error {
			if err := s.Send(Load{Messages: 1, Rate: 1}); err != nil {
				return err
			}
			return s.Settle(time.Hour)
		}},
		{"send", func(s *Swarm, interrupt func()) error { return s.Send(Load{Messages: 3, Rate: 1e-3}) }},
	}
	for _, shape := range shapes {
		if shape.children == 2 {
			continue // Three are enough.
		}
		for _, call := range calls {
			t.Run(shape.name+", "+call.name, func(t *testing.T) {
				cfg, came := silent(t)
				cfg.Threads, cfg.PerProcess = shape.threads, min(shape.per, 3)
				s := grown(t, cfg)
				once := make(chan struct{}, 1)
				ended := make(chan struct{})
				// Ends once the call is under way.
				go func() {
					defer close(ended)
					select {
					case <-came:
					case <-once:
					}
					s.Interrupt()
				}()
				if err := call.do(s, func() { once <- struct{}{} }); !errors.Is(err, ErrInterrupted) {
					t.Errorf("got %v, want %v", err, ErrInterrupted)
				}
				<-ended
				if err := s.Rest(time.Hour); !errors.Is(err, ErrInterrupted) {
					t.Errorf("later: got %v, want %v", err, ErrInterrupted)
				}
				if got := statsOf(t, s); got.Open != 6 {
					t.Errorf("got %d open, want 6", got.Open)
				}
			})
		}
	}
}

func TestInterruptGrow(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			connected := make(chan struct{}, 100)
			target := raw(t, func(_ int, c net.Conn) {
				connected <- struct{}{}
				untilEnd(c)
			})
			cfg := config(target, shape.conns)
			cfg.Threads, cfg.PerProcess = shape.threads, shape.per
			s := start(t, cfg)
			// Ends once there is a connection.
			go func() {
				<-connected
				s.Interrupt()
			}()
			if err := s.Grow(shape.conns); !errors.Is(err, ErrInterrupted) {
				t.Errorf("got %v, want %v", err, ErrInterrupted)
			}
		})
	}
}

// Once one loop has failed, none goes on.
func TestOneOfSeveralFails(t *testing.T) {
	for _, per := range []int{0, 3} {
		fail := make(chan struct{})
		target := fake(t, func(client int, c net.Conn) {
			if client == 0 {
				receive(c, 1)
				put(c, of(5))
			}
			<-fail
			untilEnd(c)
		})
		cfg := config(target, 6)
		cfg.Threads, cfg.PerProcess, cfg.Strict = 2, per, true
		s := start(t, cfg)
		must(t, s.Grow(1))
		must(t, s.Grow(6))
		const want = "swarm: message 5 of sender 0 came to connection 0, 0 was due"
		if err := s.Broadcast(1); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		close(fail)
		if err := s.Rest(time.Hour); err == nil {
			t.Error("later: got no error")
		}
		if got := statsOf(t, s).Open; got != 6 {
			t.Errorf("got %d open, want 6", got)
		}
	}
}

// A loop's thread may fail while nobody calls: the next call says so, at once.
func TestFailureBetweenCalls(t *testing.T) {
	now := make(chan struct{})
	target := fake(t, func(client int, c net.Conn) {
		if client == 0 {
			<-now
			put(c, []byte{0x88, 0})
		}
		untilEnd(c)
	})
	cfg := config(target, 2)
	cfg.Threads, cfg.Strict = 2, true
	s := start(t, cfg)
	must(t, s.Grow(1))
	must(t, s.Grow(2))
	close(now)
	for end := time.Now().Add(patience); ; {
		err := s.Rest(time.Millisecond)
		if err != nil {
			if got, want := err.Error(), "connection 0: closed by the server"; got != want {
				t.Errorf("got %v, want %s", got, want)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("got no error")
		}
	}
	// It is not connection 0 that is waited for.
	if err := s.Broadcast(1); err == nil || errors.Is(err, ErrStuck) {
		t.Errorf("got %v, want another error", err)
	}
}

func TestThreadThatFailedDoesNothing(t *testing.T) {
	cfg := config(fake(t, func(_ int, c net.Conn) { untilEnd(c) }), 2)
	cfg.Threads = 2
	s := grown(t, cfg)
	s.Interrupt()
	// There is nothing to be made, so it is not for that that it fails.
	within(t, "failed", func() bool { return errors.Is(s.Grow(2), ErrInterrupted) })
	if err := s.Shrink(0); !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v, want %v", err, ErrInterrupted)
	}
	if got := statsOf(t, s); got.Open != 2 {
		t.Errorf("got %d open, want 2", got.Open)
	}
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
