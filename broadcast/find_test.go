package broadcast

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// findAll lists connections page by page, and ends the test if one of them is listed twice.
func findAll(t *testing.T, srv *Server, f ConnFilter, n int) (all []ConnInfo) {
	t.Helper()
	seen := make(map[string]bool)
	for after := ""; ; {
		page, next, err := srv.FindConnections(t.Context(), f, after, n)
		if err != nil || len(page) > n {
			t.Fatalf("after %q: got %d connections, %v", after, len(page), err)
		}
		for _, c := range page {
			if seen[c.ID] {
				t.Fatalf("%s is listed twice", c.ID)
			}
			seen[c.ID] = true
		}
		if all = append(all, page...); next == "" {
			return all
		}
		after = next
	}
}

// TestFindConnections: pages of any size list each connection that a filter selects once.
func TestFindConnections(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Shards: 3})
	for i := range 200 {
		dialPath(t, addr, fmt.Sprint("/room/", i%7))
	}
	getEvents(t, addr, "/room/3")
	c := from(t, "127.0.0.9", addr)
	c.send([]byte(handshakeHead))
	c.expectUpgrade()
	room, nobody, root := "room/3", "nobody", ""
	for _, tt := range []struct {
		name string
		f    ConnFilter
		want int
	}{
		{"all", ConnFilter{}, 202},
		{"a channel, in two forms", ConnFilter{Channel: &room}, 30},
		{"the channel without a name", ConnFilter{Channel: &root}, 1},
		{"a channel that does not exist", ConnFilter{Channel: &nobody}, 0},
		{"an address", ConnFilter{Network: netip.MustParsePrefix("127.0.0.9/32")}, 1},
		{"a network", ConnFilter{Network: netip.MustParsePrefix("127.0.0.0/29")}, 201},
		{"an address in a channel", ConnFilter{Channel: &room, Network: netip.MustParsePrefix("127.0.0.9/32")}, 0},
		{"IPv6", ConnFilter{Network: netip.MustParsePrefix("::/0")}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{1, 2, 29, 30, 31, 202, 203, math.MaxInt} {
				got := findAll(t, srv, tt.f, n)
				if len(got) != tt.want {
					t.Errorf("pages of %d: got %d connections, want %d", n, len(got), tt.want)
				}
				for _, c := range got {
					if tt.f.Channel != nil && c.Channel != *tt.f.Channel || tt.f.Network.IsValid() && !tt.f.Network.Contains(c.Remote.Addr()) {
						t.Errorf("got %+v", c)
					}
				}
			}
		})
	}
	for _, after := range []string{"x", "-", "-1", "99999999999", "1.5"} {
		if _, _, err := srv.FindConnections(t.Context(), ConnFilter{}, after, 5); !errors.Is(err, ErrAfter) {
			t.Errorf("after %q: got %v, want %v", after, err, ErrAfter)
		}
	}
	first, _, _ := srv.FindConnections(t.Context(), ConnFilter{}, "", 2)
	if second, _, _ := srv.FindConnections(t.Context(), ConnFilter{}, first[0].ID, 1); len(second) != 1 || second[0] != first[1] {
		t.Errorf("after the ID of the first one: got %v, want %v", second, first[1])
	}
}

// TestFindConnectionsWhileOthersLeave: connections that stay are listed, whichever others open and close.
func TestFindConnectionsWhileOthersLeave(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Shards: 2})
	stay := make(map[string]bool)
	for i := range 100 {
		dialPath(t, addr, fmt.Sprint("/", i))
		c := dialPath(t, addr, fmt.Sprint("/", i%10))
		if i%2 == 0 {
			stay[c.LocalAddr().String()] = true
		}
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() { // Stopped and awaited below.
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, c := range srv.Connections(fmt.Sprint(i%100), 3) {
				if !stay[c.Remote.String()] {
					srv.Disconnect(c.ID, 4000, "")
				}
			}
		}
	})
	for range 20 {
		missing := len(stay)
		for _, c := range findAll(t, srv, ConnFilter{}, 7) {
			if stay[c.Remote.String()] {
				missing--
			}
		}
		if missing != 0 {
			t.Errorf("%d of those that stayed were not listed", missing)
		}
	}
	close(stop)
	churn.Wait()
}

// TestWalkInSteps: a walk that is interrupted all the time, while the lists change, visits each connection that stays.
func TestWalkInSteps(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Shards: 1})
	const conns = 20 * walkEvery
	leave := make(map[string]*client)
	for i := range conns {
		c := dialPath(t, addr, fmt.Sprint("/", i%5))
		if i%3 == 0 || i%5 == 4 { // The last feed empties.
			leave[c.LocalAddr().String()] = c
		}
	}
	visited := make(map[*Conn]bool)
	w := srv.shards[0].newWalk(ConnFilter{})
	w.limit = 0
	w.visit = func(c *Conn) { visited[c] = true }
	steps := 0
	for ; !w.done; steps++ {
		srv.eachShard(func(_ int, s *shard) {
			w.step(s)
			gone := 0
			for _, f := range slices.Clone(s.feeds) {
				for _, c := range slices.Clone(f.open) {
					if remote := c.RemoteAddr().String(); leave[remote] != nil && gone < conns/15 {
						delete(leave, remote)
						s.finish(c, ReasonDisconnected)
						gone++
					}
				}
			}
		})
	}
	if steps < 10 {
		t.Errorf("got %d steps, want at least 10", steps)
	}
	srv.eachShard(func(_ int, s *shard) {
		for _, f := range s.feeds {
			for _, c := range f.open {
				if leave[c.RemoteAddr().String()] == nil && !visited[c] {
					t.Errorf("connection %d of %s was not visited", c.fd, c.Channel())
				}
			}
		}
	})
}

// TestDisconnectAll: all connections of a channel are closed, after what was published before, and no others.
func TestDisconnectAll(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Shards: 2, CloseTimeout: 200 * time.Millisecond})
	other := dialPath(t, addr, "/other")
	var closed []*client
	for range 3 * walkEvery {
		closed = append(closed, dialPath(t, addr, "/news"))
	}
	news := "news"
	publishTo(t, srv, "news", "bye")
	n, err := srv.DisconnectAll(t.Context(), ConnFilter{Channel: &news}, 4321, "over")
	if n != len(closed) || err != nil {
		t.Fatalf("got %d, %v, want %d", n, err, len(closed))
	}
	for _, c := range closed {
		c.expectText("bye")
		c.expectClose(4321)
	}
	if n, err := srv.DisconnectAll(t.Context(), ConnFilter{Channel: &news}, 4321, ""); n != 0 || err != nil {
		t.Errorf("again: got %d, %v", n, err)
	}
	for reason, status := range map[string]uint16{"": 1005, "a\nb": 4000, "\xff": 4000, strings.Repeat("x", 124): 4000} {
		if n, err := srv.DisconnectAll(t.Context(), ConnFilter{}, status, reason); n != 0 || !errors.Is(err, ErrClose) {
			t.Errorf("%d %q: got %d, %v, want %v", status, reason, n, err, ErrClose)
		}
	}
	publishTo(t, srv, "other", "still here")
	other.expectText("still here")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := srv.FindConnections(cancelled, ConnFilter{}, "", 5); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	for _, c := range append(closed, other) {
		c.Close()
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.DisconnectAll(t.Context(), ConnFilter{}, 4000, ""); !errors.Is(err, ErrServerClosed) {
		t.Errorf("after the end: got %v, want %v", err, ErrServerClosed)
	}
}
