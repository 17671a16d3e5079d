package broadcast

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

var simSeed = flag.Uint64("sim.seed", 0, "run the simulation with this seed alone")

// TestSimulation runs a whole server on sockets in memory, in one goroutine, one step of
// one part after the other in a random order, and injects what the kernel may do: short
// writes, EAGAIN, EINTR, ENOBUFS, ENOMEM, ECONNRESET, EPIPE, EMFILE, ECONNABORTED, and
// epoll_ctl(2) that fails. A seed gives the same run again: -sim.seed N.
func TestSimulation(t *testing.T) {
	t.Parallel()
	seeds := []uint64{*simSeed}
	if *simSeed == 0 {
		seeds = seeds[:0]
		for seed := range uint64(simRuns) {
			seeds = append(seeds, seed+1)
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			first := newSimulation(t, seed)
			first.run()
			if seed%4 == 0 && !t.Failed() {
				again := newSimulation(t, seed)
				again.run()
				if first.trace.Sum64() != again.trace.Sum64() {
					t.Error("the same seed gave another run")
				}
			}
		})
	}
}

// simulation is a server and its peers. It is the server's sockets and poller too.
type simulation struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	trace interface {
		io.Writer
		Sum64() uint64
	}
	srv      *Server
	worker   *worker
	listener *listener
	faults   bool
	socks    map[int]*simSocket
	waiting  []*simPeer // connected, and not accepted yet
	peers    []*simPeer
	next     int            // fd
	messages map[string]int // By channel.
	injected map[string]int
	slow     int // the shard that seldom makes a pass, or -1
	step     int

	delivered uint64 // messages that peers have got
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), trace: fnv.New64a(), faults: true,
		socks: make(map[int]*simSocket), next: firstFD, injected: make(map[string]int), messages: make(map[string]int),
	}
	cfg := Config{
		RetainBytes: []int{minRetain, 1 << 20}[s.rng.IntN(2)], Slow: SlowPolicy(s.rng.IntN(2)),
		Channels: s.rng.IntN(2) == 0, Compress: s.rng.IntN(2) == 0, CompressMinBytes: 100, Shards: 1 + s.rng.IntN(3),
		// A run is the same however long it takes.
		HandshakeTimeout: time.Hour, CloseTimeout: time.Hour, Replication: Replication{HoldTime: time.Hour},
		sockets: s, Logger: slog.New(slog.NewTextHandler(simLog{t}, &slog.HandlerOptions{Level: slog.LevelError})),
		// A message becomes its number, in the order of the log, as long as it was.
		OnMessage: func(c *Conn, m Message) (Message, bool) {
			s.messages[c.Channel()]++
			p := fmt.Appendf(nil, "%d ", s.messages[c.Channel()])
			return Message{Text, append(p, bytes.Repeat([]byte{'x'}, len(m.Payload))...)}, true
		},
	}
	if s.slow = -1; cfg.Shards > 1 && s.rng.IntN(2) == 0 {
		s.slow = s.rng.IntN(cfg.Shards)
		cfg.RetainBytes, cfg.Channels = minRetain, false // Small channels are of one shard each.
	}
	cfg, err := cfg.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s.srv = &Server{cfg: cfg, poller: s, queue: &queue{}, started: time.Now()}
	s.srv.init()
	for range cfg.Shards {
		s.srv.shards = append(s.srv.shards, newShard(s.srv))
	}
	s.worker = newWorker()
	s.listener = &listener{srv: s.srv, fd: -2, reserve: -1}
	s.srv.listeners = []*listener{s.listener}
	return s
}

// simLog fails the test when the server logs an error, except for those that the simulation causes.
type simLog struct{ t *testing.T }

func (l simLog) Write(b []byte) (int, error) {
	if !bytes.Contains(b, []byte("connections are shed at accept")) {
		l.t.Errorf("the server says: %s", b)
	}
	return len(b), nil
}

// record records what happens, so that two runs can be compared.
func (s *simulation) record(format string, args ...any) { fmt.Fprintf(s.trace, format+"\n", args...) }

// chance returns true once in n times while there are faults, and counts that.
func (s *simulation) chance(n int, what string) bool {
	if !s.faults || s.rng.IntN(n) != 0 {
		return false
	}
	s.injected[what]++
	return true
}

// oneOf draws an errno.
func (s *simulation) oneOf(errnos ...unix.Errno) unix.Errno { return errnos[s.rng.IntN(len(errnos))] }

// slowness is the number of chances to make a pass that a slow shard leaves out for each one that it takes.
const slowness = 150

// serve lets a part of the server do something, and reports whether there was anything to do.
func (s *simulation) serve() bool {
	parts := len(s.srv.shards) + 1
	from := s.rng.IntN(parts)
	for i := range parts {
		part := (from + i) % parts
		if part == len(s.srv.shards) {
			if s.srv.queue.short.n+s.srv.queue.long.n > 0 {
				s.worker.cost = 0
				s.srv.queue.runTurn(s.srv.queue.pop(s.worker), s.worker)
				return true
			}
			continue
		}
		if part == s.slow && s.faults && s.rng.IntN(slowness) != 0 {
			continue
		}
		select {
		case <-s.srv.shards[part].wake:
			s.srv.shards[part].round()
			return true
		default:
		}
	}
	return false
}

func (s *simulation) run() {
	const steps = 4000
	for step := range steps {
		s.step = step
		switch d := s.rng.IntN(100); {
		case d < 2 && step < steps*3/4 && len(s.peers) < 60:
			s.connect(simKind(s.rng.IntN(int(simKinds))))
			s.listener.event(netpoll.Readable)
		case d < 4:
			s.srv.onTick()
		case d < 50 && len(s.peers) > 0:
			s.act(s.peers[s.rng.IntN(len(s.peers))])
		case d < 52:
			s.publish()
		default:
			s.serve()
		}
		s.checkLapped()
	}
	s.settle()
	for _, p := range s.peers {
		if k := p.sock; p.kind == simHealthy && k != nil && !k.closed && !k.reset && p.upgraded && p.last != s.messages[p.channel] && p.last != 0 {
			s.t.Errorf("seed %d: peer %d is healthy and has message %d of %d", s.seed, p.id, p.last, s.messages[p.channel])
		}
	}
	// All go.
	for _, p := range s.peers {
		if k := p.sock; k != nil && !k.closed {
			k.fin = true
			p.over = true
			s.edge(k, netpoll.Readable|netpoll.ReadHangup)
		}
	}
	s.settle()
	s.srv.started = s.srv.started.Add(-s.srv.cfg.CloseTimeout - s.srv.cfg.HandshakeTimeout)
	s.srv.onTick()
	s.settle()
	for fd, k := range s.socks {
		if !k.closed && k.cb != nil {
			s.t.Errorf("seed %d: fd %d of peer %d, kind %d, was never closed", s.seed, fd, k.peer.id, k.peer.kind)
		}
	}
	if open, opening := s.srv.open.Load(), s.srv.opening.len(); open != 0 || opening != 0 {
		s.t.Errorf("seed %d: %d open, %d opening, want none", s.seed, open, opening)
	}
	for _, sh := range s.srv.shards {
		if len(sh.outOfBand) != 0 || sh.kept != 0 || len(sh.closing) != 0 || sh.opened != 0 || len(sh.feeds) != 0 || len(sh.touched) != 0 {
			s.t.Errorf("seed %d: a shard keeps out-of-band bytes of %d connections, %d bytes, %d closing, %d open", s.seed, len(sh.outOfBand), sh.kept, len(sh.closing), sh.opened)
		}
	}
	for _, p := range s.peers { // What they have not read is delivered, too.
		if p.sock != nil {
			p.got = append(p.got, p.sock.out...)
			p.understand(s)
		}
	}
	if got := s.srv.Stats().Deliveries; got != s.delivered {
		s.t.Errorf("seed %d: %d deliveries are counted, want %d", s.seed, got, s.delivered)
	}
	if s.listener.reserve >= 0 {
		unix.Close(s.listener.reserve)
	}
	var what []string
	for name := range s.injected {
		what = append(what, name)
	}
	if len(what) < 5 {
		s.t.Errorf("seed %d: only %s happened", s.seed, strings.Join(what, ", "))
	}
}

// publish publishes a message as a back end would.
func (s *simulation) publish() {
	channel := ""
	if s.srv.cfg.Channels {
		channel = []string{"", "a", "b/c"}[s.rng.IntN(3)]
	}
	ch := s.srv.enter(channel)
	defer s.srv.leave(ch)
	if ch.behind.Load() {
		return // It would wait, and nobody else would run.
	}
	s.messages[channel]++
	payload := fmt.Append(nil, s.messages[channel], " ")
	if s.slow >= 0 { // As much as makes a difference in what the log holds.
		payload = append(payload, bytes.Repeat([]byte{'y'}, s.rng.IntN(10_000))...)
	}
	_, _ = s.srv.PublishTo(context.Background(), channel, Message{Text, payload})
}

// checkLapped checks that only connections whose sockets were full are closed for being slow: a shard that is slower
// than others costs its readers nothing.
func (s *simulation) checkLapped() {
	for _, sh := range s.srv.shards {
		for _, c := range sh.closing {
			if k := s.socks[int(c.fd)]; c.why == ReasonSlow && !k.lapped {
				k.lapped = true
				if !k.refused && k.tookAll != s.step {
					s.t.Errorf("seed %d: peer %d was closed as slow in step %d, and its socket had room", s.seed, k.peer.id, s.step)
				}
			}
		}
	}
}

// settle continues without faults until nothing is left to do.
func (s *simulation) settle() {
	s.faults = false
	s.listener.event(netpoll.Readable)
	for range 2 { // The second time shows that a tick changes nothing more.
		s.srv.onTick()
		for i := 0; ; i++ {
			busy := s.serve()
			for _, p := range s.peers {
				busy = s.act(p) || busy
			}
			if !busy {
				break
			}
			if i > 1_000_000 {
				s.t.Fatalf("seed %d: it does not come to rest", s.seed)
			}
		}
	}
}
