package presence

import (
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counter is a Source whose counts a test sets.
type counter struct {
	mu      sync.Mutex
	byName  map[string]int // Guarded by mu.
	changed []string       // Guarded by mu.
	many    bool           // Guarded by mu.
}

func (c *counter) set(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 {
		delete(c.byName, name)
	} else {
		c.byName[name] = n
	}
	c.changed = append(c.changed, name)
}

// endAll ends all connections, which are too many changes to remember.
func (c *counter) endAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byName)
	c.many = true
}

func (c *counter) Changed(most int) (names []string, many bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if many, c.many = c.many, false; many {
		c.changed = nil
	}
	most = min(most, len(c.changed))
	names, c.changed = c.changed[:most:most], c.changed[most:]
	return names, many
}

func (c *counter) Count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name]
}

func (c *counter) Occupied() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.byName))
}

func (c *counter) Joined() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conns := range c.byName {
		n += conns
	}
	return n
}

// network simulates servers and the network between them. Messages arrive at once. While it is lossy, a fourth of them
// are lost, and messages for one server are delayed, so that they arrive out of order with those for all.
type network struct {
	t *testing.T

	mu      sync.Mutex
	r       *rand.Rand // Guarded by mu.
	lossy   bool       // Guarded by mu.
	servers []*server  // Guarded by mu.
	parts   int        // Guarded by mu: parts of snapshots that were sent,
	bytes   int        // and their bytes.
}

type server struct {
	*Presence
	counter
	network *network
	cutOff  bool           // Guarded by the mutex of network: its messages and those to it are lost.
	queues  [2]chan string // Messages on their way to all servers, and to this one alone.
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, r: rand.New(rand.NewPCG(1, 2))}
}

// add starts a server.
func (w *network) add(tableBytes int) *server {
	s := &server{network: w, counter: counter{byName: make(map[string]int)}}
	s.Presence = newPresence(Config{
		TableBytes: tableBytes, Subject: "CRIER.presence", Logger: slog.New(slog.DiscardHandler),
	}, s.sendAll)
	s.src = &s.counter
	for i := range s.queues {
		s.queues[i] = make(chan string, 10_000)
		go func() { // Ends when remove closes the queue.
			for m := range s.queues[i] {
				if i == 1 {
					time.Sleep(w.delay())
				}
				s.receive(m)
			}
		}()
	}
	w.mu.Lock()
	w.servers = append(w.servers, s)
	w.mu.Unlock()
	s.running.Go(s.run)
	return s
}

func (w *network) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.lossy {
		return 0
	}
	return time.Duration(w.r.IntN(int(2 * time.Second)))
}

// sendAll is the send function of its Presence.
func (s *server) sendAll(subject string, message []byte) error {
	w, id := s.network, strings.TrimPrefix(subject, "CRIER.presence.")
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.cutOff {
		return errors.New("not connected")
	}
	if len(message) > maxMessageBytes {
		w.t.Errorf("got a message of %d bytes, want at most %d", len(message), maxMessageBytes)
	}
	if kind(message[1]) == snapshot {
		w.parts++
		w.bytes += len(message)
	}
	for _, to := range w.servers {
		if to.cutOff || id != toAll && id != to.id || w.lossy && w.r.IntN(4) == 0 {
			continue
		}
		if id == toAll {
			to.queues[0] <- string(message)
		} else {
			to.queues[1] <- string(message)
		}
	}
	return nil
}

// snapshots returns how many parts of snapshots were sent, and their bytes.
func (w *network) snapshots() (parts, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parts, w.bytes
}

// cut cuts a server off from the network, or reconnects it.
func (w *network) cut(s *server, cutOff bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.cutOff = cutOff
}

// kill ends a server without a message to the others.
func (w *network) kill(s *server) {
	w.cut(s, true)
	s.Close()
	w.remove(s)
}

func (w *network) remove(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers = slices.DeleteFunc(w.servers, func(o *server) bool { return o == s })
	for _, q := range s.queues {
		close(q)
	}
}

func (w *network) stop() {
	for _, s := range slices.Clone(w.servers) {
		s.Close()
		w.remove(s)
	}
}

// agree checks that each server has the counts of all others.
func (w *network) agree(what string) {
	w.t.Helper()
	for i, s := range w.servers {
		want, total := make(map[string]int), 0
		for _, o := range w.servers {
			for name, n := range o.byName {
				total += n
				if o != s {
					want[name] += n
				}
			}
		}
		got := make(map[string]int)
		for _, name := range s.Channels("", "", 1<<30) {
			got[name] = s.Elsewhere(name)
		}
		if !maps.Equal(got, want) {
			w.t.Errorf("%s: server %d has %d channels elsewhere, want %d", what, i, len(got), len(want))
		}
		for _, ch := range s.table.byName {
			if ch.conns == 0 {
				w.t.Errorf("%s: server %d keeps %q, which has no connections", what, i, ch.name)
			}
		}
		if s.Servers() != len(w.servers) || s.Connections() != total || s.Unlisted() != 0 {
			w.t.Errorf("%s: server %d has %d servers, %d connections, %d unlisted, want %d, %d, 0",
				what, i, s.Servers(), s.Connections(), s.Unlisted(), len(w.servers), total)
		}
	}
}

// pass lets time pass in the synctest bubble, and waits for what happens then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
