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

// counter is a Source.
type counter struct {
	mu      sync.Mutex
	of      map[string]int
	changed []string
	many    bool
}

func (c *counter) set(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 {
		delete(c.of, name)
	} else {
		c.of[name] = n
	}
	c.changed = append(c.changed, name)
}

// lose is that all connections end, which are too many changes.
func (c *counter) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.of)
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
	return c.of[name]
}

func (c *counter) Occupied() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.of))
}

func (c *counter) Joined() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conns := range c.of {
		n += conns
	}
	return n
}

// town is servers, and what is between them: what is sent to one comes soon, or, while lossy, perhaps not, and what
// comes for all and what comes for one may overtake each other.
type town struct {
	t *testing.T

	mu      sync.Mutex
	r       *rand.Rand
	lossy   bool
	servers []*server
	parts   int // Of snapshots, sent.
	bytes   int // Of them.
}

type server struct {
	*Presence
	counter
	town   *town
	gone   bool           // It neither hears nor is heard.
	queues [2]chan string // What is on its way for all, and for itself.
}

func newTown(t *testing.T) *town {
	return &town{t: t, r: rand.New(rand.NewPCG(1, 2))}
}

// add starts a server.
func (w *town) add(tableBytes int) *server {
	s := &server{town: w, counter: counter{of: make(map[string]int)}}
	s.Presence = newPresence(Config{TableBytes: tableBytes, Subject: "CRIER.presence", Logger: slog.New(slog.DiscardHandler)}, s.say)
	s.src = &s.counter
	for i := range s.queues {
		s.queues[i] = make(chan string, 10_000)
		go func() { // Ends with stop.
			for m := range s.queues[i] {
				if i == 1 {
					time.Sleep(w.delay())
				}
				s.hear(m)
			}
		}()
	}
	w.mu.Lock()
	w.servers = append(w.servers, s)
	w.mu.Unlock()
	s.running.Go(s.run)
	return s
}

func (w *town) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.lossy {
		return 0
	}
	return time.Duration(w.r.IntN(int(2 * time.Second)))
}

// say is Config's send.
func (s *server) say(subject string, message []byte) error {
	w, id := s.town, strings.TrimPrefix(subject, "CRIER.presence.")
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.gone {
		return errors.New("NATS is gone")
	}
	if len(message) > mostBytes {
		w.t.Errorf("a message has %d bytes", len(message))
	}
	if kind(message[1]) == snapshot {
		w.parts++
		w.bytes += len(message)
	}
	for _, to := range w.servers {
		if to.gone || id != toAll && id != to.id || w.lossy && w.r.IntN(4) == 0 {
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

// snapshots is what was sent of them.
func (w *town) snapshots() (parts, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parts, w.bytes
}

// cut cuts a server off, or lets it come back.
func (w *town) cut(s *server, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.gone = gone
}

// kill ends a server, and nobody is told.
func (w *town) kill(s *server) {
	w.cut(s, true)
	s.Close()
	w.remove(s)
}

func (w *town) remove(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers = slices.DeleteFunc(w.servers, func(o *server) bool { return o == s })
	for _, q := range s.queues {
		close(q)
	}
}

func (w *town) stop() {
	for _, s := range slices.Clone(w.servers) {
		s.Close()
		w.remove(s)
	}
}

// agree checks that each server knows what all others have.
func (w *town) agree(what string) {
	w.t.Helper()
	for i, s := range w.servers {
		want, total := make(map[string]int), 0
		for _, o := range w.servers {
			for name, n := range o.of {
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
			w.t.Errorf("%s: server %d knows of %d channels elsewhere, and there are %d", what, i, len(got), len(want))
		}
		for _, ch := range s.table.of {
			if ch.conns == 0 {
				w.t.Errorf("%s: server %d keeps %q, which nobody has", what, i, ch.name)
			}
		}
		if s.Servers() != len(w.servers) || s.Connections() != total || s.Unlisted() != 0 {
			w.t.Errorf("%s: server %d knows %d servers, %d connections, %d unlisted, want %d, %d, 0", what, i, s.Servers(), s.Connections(), s.Unlisted(), len(w.servers), total)
		}
	}
}

// pass lets time pass, and all that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
