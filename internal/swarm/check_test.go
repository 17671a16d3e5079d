package swarm

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ping is the last thing that scripts send: what came before it is counted once it is.
var ping = []byte{0x89, 0}

// of returns the seq-th message of the only sender.
func of(seq uint64) []byte { return serverFrame(message{0, seq}, size) }

func TestDeliveries(t *testing.T) {
	broken := of(1)
	broken[30] ^= 1
	tests := []struct {
		name   string
		frames [][]byte // what comes of three messages
		want   Counts
		strict string
	}{
		{"in order", [][]byte{of(0), of(1), of(2)},
			Counts{Delivered: 3}, ""},
		{"nothing", nil,
			Counts{Lost: 3}, ""},
		{"the first left out", [][]byte{of(1), of(2)},
			Counts{Delivered: 2, Lost: 1}, "message 1 of sender 0 came to connection 0, 0 was due"},
		{"the last left out", [][]byte{of(0), of(1)},
			Counts{Delivered: 2, Lost: 1}, ""},
		{"all but the last left out", [][]byte{of(2)},
			Counts{Delivered: 1, Lost: 2}, "message 2 of sender 0 came to connection 0, 0 was due"},
		{"left out and come later", [][]byte{of(0), of(2), of(1)},
			Counts{Delivered: 3, Reordered: 1}, "message 2 of sender 0 came to connection 0, 1 was due"},
		{"backwards", [][]byte{of(2), of(1), of(0)},
			Counts{Delivered: 3, Reordered: 2}, "message 2 of sender 0 came to connection 0, 0 was due"},
		{"come later twice", [][]byte{of(0), of(2), of(1), of(1)},
			Counts{Delivered: 3, Reordered: 1, Duplicated: 1}, "message 2"},
		{"twice", [][]byte{of(0), of(0), of(1), of(2), of(1)},
			Counts{Delivered: 3, Duplicated: 2}, "message 0 of sender 0 came to connection 0 again, 1 was due"},
		{"a damaged byte", [][]byte{of(0), broken, of(2)},
			Counts{Delivered: 2, Corrupted: 1, Lost: 1}, "a message came damaged to connection 0"},
		{"cut short", [][]byte{of(0), serverFrame(message{0, 1}, size/2), of(2)},
			Counts{Delivered: 2, Corrupted: 1, Lost: 1}, "a message came damaged to connection 0"},
		{"an unknown sender", [][]byte{serverFrame(message{1, 0}, size), of(0), of(1), of(2)},
			Counts{Delivered: 3, Corrupted: 1}, "a message came damaged to connection 0"},
		{"the next message before it is sent", [][]byte{of(0), of(1), of(2), of(3)},
			Counts{Delivered: 3, Corrupted: 1}, "a message came damaged to connection 0"},
		{"an absurd number", [][]byte{of(0), of(1<<36 - 1), of(1), of(2)},
			Counts{Delivered: 3, Corrupted: 1}, "a message came damaged to connection 0"},
		{"a pong", [][]byte{of(0), {0x8a, 0}, of(1), of(2)},
			Counts{Delivered: 3}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := fake(t, afterMessages(3, append(slices.Clone(tt.frames), ping)...))
			s := grown(t, config(target, 1))
			must(t, s.Send(Load{Messages: 3, Rate: 1e6}))
			restUntil(t, s, func(c Counts) bool { return c.Pings == 1 })
			must(t, s.Settle(0))
			tt.want.Open, tt.want.Sent, tt.want.Pings = 1, 3, 1
			if got := statsOf(t, s).Counts; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			want := Tally{Whole: 1}
			if tt.want.Lost > 0 {
				want = Tally{Lacking: 1}
			}
			if got, err := s.Tally(0, 1); err != nil || got != want {
				t.Errorf("Tally: got %+v, %v, want %+v", got, err, want)
			}
		})
		t.Run("strict, "+tt.name, func(t *testing.T) {
			target := fake(t, afterMessages(3, append(slices.Clone(tt.frames), ping)...))
			cfg := config(target, 1)
			cfg.Strict = true
			s := grown(t, cfg)
			err := s.Send(Load{Messages: 3, Rate: 1e6})
			end := time.Now().Add(patience)
			for err == nil && statsOf(t, s).Pings == 0 && time.Now().Before(end) {
				err = s.Rest(time.Millisecond)
			}
			if tt.strict == "" && err != nil || tt.strict != "" && (err == nil || !strings.Contains(err.Error(), tt.strict)) {
				t.Errorf("got %v, want %q", err, tt.strict)
			}
		})
	}
}

// What comes after it was given up for lost is no longer lost.
func TestSettleTooEarly(t *testing.T) {
	late := make(chan struct{})
	target := fake(t, func(_ int, c net.Conn) {
		receive(c, 4)
		put(c, of(0), ping)
		<-late
		put(c, of(2), of(1), ping)
		untilEnd(c)
	})
	cfg := config(target, 1)
	cfg.Timed = true
	s := grown(t, cfg)
	must(t, s.Send(Load{Messages: 4, Rate: 1e6}))
	restUntil(t, s, func(c Counts) bool { return c.Pings == 1 })
	must(t, s.Settle(0))
	must(t, s.Settle(0))
	if got := statsOf(t, s); got.Lost != 3 || got.Latency.TotalCount() != 4 {
		t.Errorf("got %+v and %d latencies, want 3 lost and 4 latencies", got.Counts, got.Latency.TotalCount())
	}
	close(late)
	restUntil(t, s, func(c Counts) bool { return c.Pings == 2 })
	got := statsOf(t, s)
	if got.Lost != 1 || got.Reordered != 2 || got.Delivered != 3 || got.Latency.TotalCount() != 4 {
		t.Errorf("got %+v and %d latencies, want 1 lost, 2 reordered, 3 delivered, 4 latencies", got.Counts, got.Latency.TotalCount())
	}
	if got, err := s.Tally(0, 1); err != nil || got != (Tally{Lacking: 1}) {
		t.Errorf("Tally: got %+v, %v, want one that lacks", got, err)
	}
}

func TestLedger(t *testing.T) {
	var l ledger
	a, b := stream{0, 0}, stream{1, 0}
	l.lose(a, span{first: 3, end: 6})
	l.lose(a, span{first: 10, end: 11, timed: true})
	l.lose(b, span{first: 0, end: 1})
	steps := []struct {
		stream stream
		seq    uint64
		want   bool
		spans  int
	}{
		{a, 2, false, 3}, {a, 6, false, 3}, {b, 4, false, 3},
		{a, 4, true, 4}, {a, 4, false, 4},
		{a, 3, true, 3}, {a, 5, true, 2}, {a, 5, false, 2},
		{b, 0, true, 1}, {b, 0, false, 1},
	}
	for _, st := range steps {
		if _, got := l.find(st.stream, st.seq); got != st.want || l.spans != st.spans {
			t.Errorf("%v %d: got %v, %d spans, want %v, %d", st.stream, st.seq, got, l.spans, st.want, st.spans)
		}
	}
	if len(l.lost) != 1 {
		t.Errorf("got %v, want one stream", l.lost)
	}
	if found, ok := l.find(a, 10); !ok || !found.timed {
		t.Errorf("got %v, %v, want a timed span", found, ok)
	}
	l.lose(b, span{first: 0, end: 1})
	if l.forget(1, 1); l.spans != 0 || len(l.lost) != 0 {
		t.Errorf("got %d spans, %v, want none", l.spans, l.lost)
	}
	l.spans = maxSpans
	if l.lose(a, span{first: 0, end: 1}); len(l.lost) != 0 {
		t.Errorf("got %v, want nothing more", l.lost)
	}
}

// unconnected returns one of two loops, with connections that nothing comes from.
func unconnected(t *testing.T, senders, conns int) *loop {
	t.Helper()
	cfg, err := Config{Target: netip.MustParseAddrPort("127.0.0.1:1"), Conns: 2 * (conns + senders), Senders: senders}.complete()
	must(t, err)
	l, err := newLoop(&cfg, 1, 2)
	must(t, err)
	t.Cleanup(l.close)
	for i := range conns {
		l.conns = append(l.conns, open(t, i))
		l.open++
	}
	l.due = make([]uint64, senders*conns)
	return l
}

// open returns a greeted connection with nobody behind it.
func open(t *testing.T, i int) *conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fds[1]) })
	return &conn{index: int32(i), fd: int32(fds[0]), phase: phaseOpen, since: clock()}
}

// deliverAll delivers messages to the i-th connection.
func deliverAll(t *testing.T, l *loop, i int, all ...message) {
	t.Helper()
	for _, m := range all {
		must(t, l.deliver(i, m))
	}
}

// Another loop sends before this one is told to.
func TestEarlyArrivals(t *testing.T) {
	l := unconnected(t, 1, 2)
	cfg := *l.cfg
	cfg.Timed = true
	l.cfg = &cfg
	plan := schedule{Total: 2, Burst: 2, Start: clock()}
	l.readAt = plan.Start + 3*time.Millisecond
	deliverAll(t, l, 0, message{0, 0}, message{0, 1})
	deliverAll(t, l, 1, message{0, 0})
	l.begin(plan)
	if l.owed != 1 || l.conns[0].owes != 0 || l.conns[1].owes != 1 {
		t.Errorf("got %d owed: %d and %d, want 1: 0 and 1", l.owed, l.conns[0].owes, l.conns[1].owes)
	}
	if got := l.stats; got.Latency.TotalCount() != 3 || got.First != 3*time.Millisecond || got.Last != 3*time.Millisecond {
		t.Errorf("got %d latencies, first %v, last %v, want 3, 3ms, 3ms", got.Latency.TotalCount(), got.First, got.Last)
	}
	deliverAll(t, l, 1, message{0, 1})
	if l.owed != 0 || l.stats.Faults() != 0 || l.stats.Delivered != 4 {
		t.Errorf("got %d owed, %+v, want 0, 4 delivered", l.owed, l.stats.Counts)
	}
}

// What other loops sent is not known, but there are bounds.
func TestAbsurdNumberWithSeveralLoops(t *testing.T) {
	l := unconnected(t, 2, 1)
	l.begin(schedule{Total: 4, Burst: 4, Start: clock()})
	deliverAll(t, l, 0, message{1, (4 + maxAhead) / 2}, message{0, (4 + maxAhead) / 2}, message{0, 1<<36 - 1}, message{2, 0})
	if got, want := l.stats.Counts, (Counts{Corrupted: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	deliverAll(t, l, 0, message{1, (4+maxAhead)/2 - 1})
	if got := l.stats; got.Corrupted != 4 || got.Delivered != 1 {
		t.Errorf("got %+v, want it delivered", got.Counts)
	}
}

// With one loop it is known what was sent.
func TestMessageThatIsPlannedOnly(t *testing.T) {
	l := unconnected(t, 1, 1)
	l.id, l.of = 0, 1
	l.begin(schedule{Total: 3, Burst: 1, Start: clock()})
	l.next = 2
	deliverAll(t, l, 0, message{0, 0}, message{0, 2}, message{0, 1})
	if got, want := l.stats.Counts, (Counts{Delivered: 2, Corrupted: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A connection is renewed while messages are under way: which of them it gets is not
// known, but from its first of a sender on it must get all.
func TestJoining(t *testing.T) {
	first := schedule{Total: 6, Burst: 6, Start: clock()}
	tests := []struct {
		name     string
		joining  []message // come before the next schedule
		next     []message // come in the next schedule, numbers 6 to 9
		want     Counts
		owed     int // when the next schedule begins
		owedThen int
	}{
		{"none of the old ones", nil,
			[]message{{0, 3}, {1, 3}, {0, 4}, {1, 4}}, Counts{Delivered: 4}, 4, 0},
		{"from the middle", []message{{0, 1}, {0, 2}},
			[]message{{0, 3}, {1, 3}, {0, 4}, {1, 4}}, Counts{Delivered: 6}, 4, 0},
		{"the old ones come late", []message{{0, 1}},
			[]message{{0, 2}, {1, 2}, {0, 3}, {1, 3}, {0, 4}, {1, 4}}, Counts{Delivered: 7}, 5, 0},
		{"the first old one late, then a gap", nil,
			[]message{{1, 1}, {1, 3}, {1, 4}, {0, 3}, {0, 4}}, Counts{Delivered: 5, Lost: 1}, 4, 0},
		{"one of the new ones left out", nil,
			[]message{{0, 4}, {1, 3}, {1, 4}}, Counts{Delivered: 3, Lost: 1}, 4, 0},
		{"a gap among the old ones", []message{{0, 0}, {0, 2}},
			[]message{{1, 3}}, Counts{Delivered: 3, Lost: 1}, 4, 3},
		{"twice", []message{{0, 2}, {0, 2}},
			nil, Counts{Delivered: 1, Duplicated: 1}, 4, 4},
		{"the same old one late and twice", nil,
			[]message{{0, 2}, {0, 2}}, Counts{Delivered: 1, Duplicated: 1}, 4, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := unconnected(t, 2, 1)
			l.begin(first)
			rejoin(t, l, 0)
			deliverAll(t, l, 0, tt.joining...)
			if l.owed != 0 {
				t.Errorf("got %d owed to one that joins, want 0", l.owed)
			}
			l.begin(schedule{First: 6, Total: 4, Burst: 4, Start: clock() + 1})
			if l.owed != tt.owed {
				t.Errorf("got %d owed, want %d", l.owed, tt.owed)
			}
			deliverAll(t, l, 0, tt.next...)
			got := l.stats.Counts
			got.Renewed = 0
			if got != tt.want || l.owed != tt.owedThen {
				t.Errorf("got %+v and %d owed, want %+v and %d", got, l.owed, tt.want, tt.owedThen)
			}
			must(t, l.settle(0))
			if l.owed != 0 || l.stats.Lost != tt.want.Lost+tt.owedThen {
				t.Errorf("settled: got %d owed and %+v, want 0 and %d lost", l.owed, l.stats.Counts, tt.want.Lost+tt.owedThen)
			}
		})
	}
}

// rejoin renews the i-th connection as loop.renew does, but with nobody behind it.
func rejoin(t *testing.T, l *loop, i int) {
	t.Helper()
	l.end(i)
	l.ledger.forget(i, l.cfg.Senders)
	for sender := range l.cfg.Senders {
		l.due[i*l.cfg.Senders+sender] = anySeq
	}
	*l.conns[i] = *open(t, i)
	l.conns[i].joining = true
	l.open++
}

// One that is greeted after the schedule's start may miss its first messages, as another
// loop has sent them already.
func TestJoiningAfterTheStart(t *testing.T) {
	l := unconnected(t, 1, 1)
	plan := schedule{Total: 2, Burst: 2, Start: clock()}
	rejoin(t, l, 0)
	l.begin(plan)
	deliverAll(t, l, 0, message{0, 1})
	if l.owed != 0 || l.stats.Faults() != 0 {
		t.Errorf("got %d owed and %+v, want nothing", l.owed, l.stats.Counts)
	}
}

// What happens to connections in any order, what is owed is always what the due sequence
// numbers say.
func TestOwedIsWhatIsDue(t *testing.T) {
	const senders, conns = 3, 4
	for seed := range uint64(30) {
		source := rand.New(rand.NewPCG(seed, 0))
		l := unconnected(t, senders, conns)
		var sent int
		for range 300 {
			i := source.IntN(conns)
			c := l.conns[i]
			switch source.IntN(12) {
			case 0:
				n := source.IntN(5)
				l.begin(schedule{First: sent, Total: n, Burst: 1, Start: clock() + 1})
				sent += n
			case 1:
				l.stall(2*conns, 2*conns)
			case 2:
				must(t, l.resume())
			case 3:
				l.end(i)
			case 4:
				if c.phase == phaseClosed || !c.paused {
					rejoin(t, l, i)
				}
			case 5:
				must(t, l.settle(0))
			default:
				if c.phase != phaseOpen || c.paused {
					continue
				}
				due := l.due[i*senders:][:senders]
				m := message{uint32(source.IntN(senders)), 0}
				m.seq = due[m.sender]&^orBefore + uint64(source.IntN(4))
				if m.seq > 1<<20 || source.IntN(4) == 0 {
					m.seq = source.Uint64N(uint64(sent/senders + 2))
				}
				must(t, l.deliver(i, m))
			}
			checkOwed(t, l, seed)
		}
	}
}

func checkOwed(t *testing.T, l *loop, seed uint64) {
	t.Helper()
	var all int
	for i, c := range l.conns {
		if c.joining {
			if c.owes != 0 {
				t.Fatalf("seed %d: connection %d joins and is owed %d", seed, i, c.owes)
			}
			continue
		}
		var want int
		for sender, due := range l.due[i*l.cfg.Senders:][:l.cfg.Senders] {
			want += int(l.seqAt(sender, l.plan.end())) - int(due&^orBefore)
		}
		if c.owes != want {
			t.Fatalf("seed %d: connection %d is owed %d, want %d", seed, i, c.owes, want)
		}
		if c.phase == phaseOpen && !c.paused {
			all += want
		}
	}
	if l.owed != all {
		t.Fatalf("seed %d: got %d owed in all, want %d", seed, l.owed, all)
	}
}
