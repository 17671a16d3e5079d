package presence

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/leaktest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // Fuzzing leaves goroutines of its own behind.
	}
	os.Exit(leaktest.Main(m))
}

var _ Source = (*broadcast.Replica)(nil)

// TestPresence checks that servers agree at the start, after changes, and after servers were added, cut off,
// reconnected, killed and closed.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t)
		defer w.stop()
		a, b := w.add(0), w.add(0)
		a.set("news", 2)
		a.set("", 1)
		b.set("news", 3)
		pass(3 * time.Second)
		w.agree("at the start")
		if a.Elsewhere("news") != 3 || b.Elsewhere("news") != 2 || b.Elsewhere("none") != 0 {
			t.Errorf("got %d and %d connections elsewhere, want 3 and 2", a.Elsewhere("news"), b.Elsewhere("news"))
		}
		a.set("news", 0)
		b.set("sport", 5)
		pass(2 * time.Second)
		w.agree("after changes")
		c := w.add(0)
		c.set("late", 1)
		pass(2 * time.Second)
		w.agree("with a late server")
		w.cut(c, true)
		a.set("news", 7)
		c.set("late", 4)
		pass(6 * time.Second)
		if a.Servers() != 2 || a.Elsewhere("late") != 0 ||
			c.Servers() != 1 || c.Connections() != 4 || len(c.Channels("", "", 9)) != 0 {
			t.Errorf("with one server cut off: got %d and %d servers, want 2 and 1", a.Servers(), c.Servers())
		}
		w.cut(c, false)
		pass(3 * time.Second)
		w.agree("after it reconnected")
		w.cut(c, true)
		c.set("late", 2)
		pass(2 * time.Second)
		if a.Servers() != 3 || a.Elsewhere("late") != 4 {
			t.Errorf("with one server cut off for 2 s: got %d connections of %d servers, want 4 of 3",
				a.Elsewhere("late"), a.Servers())
		}
		w.cut(c, false)
		pass(2 * time.Second)
		w.agree("after lost beats")
		w.kill(b)
		pass(6 * time.Second)
		w.agree("after a server was killed")
		c.Close()
		w.remove(c)
		pass(time.Millisecond)
		w.agree("after a server was closed")
	})
}

// TestLossy loses messages and delivers them out of order: in the end servers agree.
func TestLossy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t)
		defer w.stop()
		for range 4 {
			w.add(0)
		}
		r := rand.New(rand.NewPCG(3, 4))
		for round := range 20 {
			w.mu.Lock()
			w.lossy = true
			w.mu.Unlock()
			for range 100 {
				s := w.servers[r.IntN(len(w.servers))]
				for range r.IntN(200) {
					s.set(fmt.Sprintf("channel %0100d", r.IntN(2000)), r.IntN(3)) // Enough for several parts.
				}
				pass(time.Duration(r.IntN(200)) * time.Millisecond)
			}
			if round%5 == 4 {
				w.kill(w.servers[0])
				w.add(0)
			}
			w.mu.Lock()
			w.lossy = false
			w.mu.Unlock()
			pass(10 * time.Second)
			w.agree(fmt.Sprint("round ", round))
		}
	})
}

// TestManyChannels checks that many counts arrive in parts, none of them too long, and many changes in several beats.
func TestManyChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const channels = 50_000
		w := newNetwork(t)
		defer w.stop()
		a, b := w.add(0), w.add(0)
		pass(2 * time.Second)
		for i := range channels {
			a.set(fmt.Sprintf("room/%06d", i), 1+i%3)
		}
		pass(3 * time.Second)
		w.agree("after changes")
		parts, bytes := w.snapshots()
		w.add(0)
		pass(3 * time.Second)
		w.agree("with a late server")
		p, n := w.snapshots()
		t.Logf("a snapshot of %d channels: %d bytes in %d parts", channels, n-bytes, p-parts)
		if p-parts < 10 {
			t.Errorf("got %d parts, want at least 10", p-parts)
		}
		a.endAll()
		pass(3 * time.Second)
		w.agree("after too many changes")
		if n := len(b.table.byName); n != 0 || b.table.bytes != 0 {
			t.Errorf("got %d channels with %d bytes in the table, want none", n, b.table.bytes)
		}
	})
}

// TestNoRoom checks that channels which exceed the table are counted as unlisted, and listed when there is room.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 100 * (channelBytes + countBytes + 4)
		w := newNetwork(t)
		defer w.stop()
		a, b := w.add(most), w.add(0)
		for i := range 300 {
			b.set(fmt.Sprintf("%04d", i), 1)
		}
		pass(3 * time.Second)
		if a.Connections() != 300 || a.Unlisted() != 200 || len(a.Channels("", "", 1000)) != 100 {
			t.Errorf("got %d connections, %d unlisted, %d channels, want 300, 200, 100",
				a.Connections(), a.Unlisted(), len(a.Channels("", "", 1000)))
		}
		for _, name := range b.Occupied()[:250] {
			b.set(name, 0)
		}
		pass(3 * time.Second)
		w.agree("with room")
	})
}

// TestManyServers checks that beats of very many servers are rarer, and that no server is forgotten because of that.
func TestManyServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const servers = 101
		w := newNetwork(t)
		defer w.stop()
		for i := range servers {
			s := w.add(0)
			s.set("news", 1)
			s.set(fmt.Sprint(i), 1)
		}
		pass(10 * time.Second)
		w.agree("at the start")
		if every := w.servers[0].beatInterval(); every != 2*time.Second {
			t.Errorf("got a beat every %v, want %v", every, 2*time.Second)
		}
		pass(10 * time.Second)
		w.agree("later")
	})
}

// TestForged checks that malformed messages, too many servers and forged beats do no lasting harm.
func TestForged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t)
		defer w.stop()
		a, b := w.add(0), w.add(0)
		b.set("news", 2)
		pass(2 * time.Second)
		for i := range 2 * maxOthers {
			id := fmt.Sprintf("%0*d", idBytes, i)
			a.receive(string(appendNumbers(appendHead(nil, beat, id), 1, 1000, 5)))
		}
		a.receive("x")
		// Not sent by b.
		a.receive(string(appendCount(appendNumbers(appendHead(nil, beat, b.id), 1<<32-1, 1000, 5), "news", 5)))
		if a.Servers() != 1+maxOthers {
			t.Errorf("got %d servers, want %d", a.Servers(), 1+maxOthers)
		}
		pass(10 * time.Second)
		w.agree("after the forged servers were forgotten")
	})
}
