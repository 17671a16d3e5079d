package swarm

import (
	"errors"
	"net"
	"testing"
	"time"
)

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

// Once one loop has failed, all loops stop.
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
