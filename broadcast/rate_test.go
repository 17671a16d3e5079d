package broadcast

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// TestRateClose: a message that exceeds the rate closes its sender and is not published.
func TestRateClose(t *testing.T) {
	for name, cfg := range map[string]Config{
		"messages": {Rate: 0.001, Burst: 3},
		"bytes":    {RateBytes: 0.001, BurstBytes: 30, MaxMessageBytes: 30},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.OverRate = RateClose
			srv, addr := newServer(t, cfg)
			other, c := dial(t, addr), dial(t, addr)
			for range 4 {
				c.sendText("0123456789")
			}
			for range 3 {
				other.expectText("0123456789")
			}
			for { // What it published itself may come before.
				if op, p, _ := c.readFrame(); op == ws.OpClose {
					if got := binary.BigEndian.Uint16(p); got != 1008 {
						t.Errorf("got status %d, want 1008", got)
					}
					break
				}
			}
			other.sendText("mine")
			other.expectText("mine")
			c.Close()
			eventually(t, "it to be counted", func() bool { return srv.Stats().Disconnects["rate"] == 1 })
			eventually(t, "its quota to be forgotten, and the other's not", func() bool {
				srv.limiter.sweep(time.Now()) // It will not be full again for long.
				srv.limiter.mu.Lock()
				defer srv.limiter.mu.Unlock()
				return len(srv.limiter.quotas) == 1
			})
		})
	}
}

// TestRateHold: a connection that exceeds its rate is read later and loses nothing, and others do not wait for it.
func TestRateHold(t *testing.T) {
	const messages = 12
	for name, cfg := range map[string]Config{
		"messages": {Rate: 20, Burst: 2},
		"bytes":    {RateBytes: 2000, BurstBytes: 200, MaxMessageBytes: 200},
		"large":    {RateBytes: 10_000, BurstBytes: 1000, MaxMessageBytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			srv, addr := newServer(t, cfg)
			other, c := dial(t, addr), dial(t, addr)
			size := min(100, srv.cfg.MaxMessageBytes)
			if name == "large" {
				size = 1000
			}
			message := func(i int) string { return fmt.Sprintf("%*d", size, i) }
			var all []byte
			for i := range messages {
				all = clientFrame(all, true, ws.OpText, []byte(message(i)))
			}
			began := time.Now()
			c.send(all)
			c.sendFrame(true, ws.OpPing, []byte("p"))
			eventually(t, "it to be held", func() bool { return srv.Stats().RateHolds > 0 })
			other.sendText("mine")
			for i, mine := 0, 0; i < messages+1; {
				_, got, _ := other.readFrame()
				if string(got) == "mine" {
					mine++
				} else if string(got) != message(i-mine) {
					t.Fatalf("got %s, want %s", brief(got), brief([]byte(message(i-mine))))
				}
				i++
			}
			// Less than a burst's worth of time is free.
			if least := 300 * time.Millisecond; time.Since(began) < least {
				t.Errorf("all came within %v, want more than %v", time.Since(began), least)
			}
			eventually(t, "the quotas to be forgotten", func() bool {
				srv.limiter.sweep(time.Now())
				srv.limiter.mu.Lock()
				defer srv.limiter.mu.Unlock()
				return len(srv.limiter.quotas) == 0
			})
		})
	}
}

// TestRateHeldEnds: a connection that is held for long can be closed, and does not keep the server from ending.
func TestRateHeldEnds(t *testing.T) {
	srv, addr := newServer(t, Config{Rate: 0.01, Burst: 1, CloseTimeout: 200 * time.Millisecond})
	c := dial(t, addr)
	c.sendText("one")
	c.sendText("two")
	c.sendText("three")
	eventually(t, "it to be held", func() bool { return srv.Stats().RateHolds > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestRateHeldIsClosed: a connection that is held by its rate when the server closes it ends as soon as its peer does,
// and not after CloseTimeout. What it could have published until then is published at once.
func TestRateHeldIsClosed(t *testing.T) {
	const messages = 10
	shutdown := func(t *testing.T, srv *Server) {
		go func() { _ = srv.Shutdown(t.Context()) }() // The cleanup of newServer waits for it, by Serve.
	}
	disconnect := func(t *testing.T, srv *Server) {
		if n, err := srv.DisconnectAll(t.Context(), ConnFilter{}, 4000, ""); n != 1 || err != nil {
			t.Errorf("DisconnectAll: got %d, %v", n, err)
		}
	}
	for _, tt := range []struct {
		name      string
		rate      float64
		end       func(*testing.T, *Server)
		status    ws.StatusCode
		published uint64
	}{
		{"all within the time", 0.1, shutdown, ws.StatusGoingAway, messages},
		{"some within the time", 0.001, shutdown, ws.StatusGoingAway, 4}, // The first, and one each 1000 s.
		{"disconnected", 0.1, disconnect, 4000, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, addr := newServer(t, Config{Rate: tt.rate, Burst: 1, CloseTimeout: time.Hour})
			c := dial(t, addr)
			for range messages {
				c.sendText("m")
			}
			c.expectText("m")
			c.expectText("m") // The one that is ahead of the rate.
			eventually(t, "it to be held", func() bool { return srv.Stats().RateHolds > 0 })
			tt.end(t, srv)
			c.expectClose(tt.status)
			c.sendFrame(true, ws.OpClose, []byte{0x03, 0xe8})
			c.expectEOF()
			c.Close()
			eventually(t, "it to be gone", func() bool { return srv.Stats().Open == 0 })
			if got := srv.Stats().Messages; got != tt.published {
				t.Errorf("got %d messages, want %d", got, tt.published)
			}
		})
	}
}
