package swarm

import (
	"fmt"
	"slices"
	"time"
)

// What is due to a connection that joined while messages were under way, until the first
// of a sender comes.
const (
	// orBefore is set where the sequence number is the right one at the latest; one
	// before is as well.
	orBefore = 1 << 63
	// anySeq is due where any is right.
	anySeq = ^uint64(0)
)

// maxAhead is how many messages the other loops may send before this one is told of
// them; a number further on was not sent: the prefix came damaged.
const maxAhead = 1 << 24

// maxSpans bounds what ledger remembers, with about a hundred bytes a span.
const maxSpans = 1 << 20

// stream is the messages of one sender to one connection, by the connection's index
// and the sender's.
type stream struct{ conn, sender int }

// span is sequence numbers from first to before end.
type span struct {
	first, end uint64
	timed      bool // the latency is recorded
}

// ledger is what is lost so far, to tell what comes late from what comes twice. The
// zero value is empty.
type ledger struct {
	lost  map[stream][]span
	spans int
}

// lose takes note that messages did not come.
func (l *ledger) lose(s stream, missing span) {
	if l.spans == maxSpans {
		return // What comes late from here on counts as duplicated.
	}
	if l.lost == nil {
		l.lost = map[stream][]span{}
	}
	l.spans++
	l.lost[s] = append(l.lost[s], missing)
}

// find takes a message off that came after all. It returns the span that it was in, and
// whether it was lost.
func (l *ledger) find(s stream, seq uint64) (span, bool) {
	spans := l.lost[s]
	i := slices.IndexFunc(spans, func(sp span) bool { return sp.first <= seq && seq < sp.end })
	if i < 0 {
		return span{}, false
	}
	found := spans[i]
	l.spans--
	if l.lost[s] = slices.Delete(spans, i, i+1); len(spans) == 1 {
		delete(l.lost, s)
	}
	if found.first < seq {
		l.lose(s, span{found.first, seq, found.timed})
	}
	if seq+1 < found.end {
		l.lose(s, span{seq + 1, found.end, found.timed})
	}
	return found, true
}

// forget drops what is known of a connection.
func (l *ledger) forget(conn, senders int) {
	if l.spans == 0 {
		return
	}
	for sender := range senders {
		s := stream{conn, sender}
		l.spans -= len(l.lost[s])
		delete(l.lost, s)
	}
}

// deliver takes a whole and intact message that came to the i-th connection.
func (l *loop) deliver(i int, m message) error {
	if int(m.sender) >= l.cfg.Senders || l.number(m) >= l.ahead() {
		return l.corrupted(i)
	}
	c := l.conns[i]
	due := &l.due[i*l.cfg.Senders+int(m.sender)]
	if *due&orBefore != 0 {
		latest := *due &^ orBefore
		*due = min(latest, m.seq)
		l.owe(c, int(latest-*due))
	}
	if m.seq < *due {
		return l.repeated(i, m, *due)
	}
	if m.seq > *due {
		if err := l.fault("message %d of sender %d came to connection %d, %d was due", m.seq, m.sender, l.global(i), *due); err != nil {
			return err
		}
		l.lose(i, int(m.sender), span{first: *due, end: m.seq})
	}
	*due = m.seq + 1
	l.stats.Delivered++
	l.owe(c, -1)
	if l.cfg.Timed {
		l.time(m)
	}
	return nil
}

// ahead is a number that no message that was sent has reached.
func (l *loop) ahead() int {
	if l.of == 1 {
		return min(l.next, l.plan.end())
	}
	return l.plan.end() + maxAhead
}

// owe adds to what is due to a connection. What is due to one that joins is not known.
func (l *loop) owe(c *conn, n int) {
	if c.joining {
		return
	}
	c.owes += n
	if c.phase == phaseOpen && !c.paused {
		l.owed += n
	}
}

// lose counts messages that did not come to the i-th connection.
func (l *loop) lose(i, sender int, missing span) {
	n := int(missing.end - missing.first)
	l.stats.Lost += n
	l.conns[i].lost += int32(n)
	l.owe(l.conns[i], -n)
	l.ledger.lose(stream{i, sender}, missing)
}

// settle waits until no connection that reads is owed anything and none is being made, up
// to a time. What did not come by then is lost, and its latency counts to now.
func (l *loop) settle(patience time.Duration) error {
	if err := l.pollFor(patience, func() bool { return l.owed <= 0 && l.pending == 0 }); err != nil {
		return err
	}
	for i, c := range l.conns {
		if c.paused || c.joining || c.owes <= 0 {
			continue
		}
		for sender := range l.cfg.Senders {
			due := &l.due[i*l.cfg.Senders+sender]
			if first, end := *due&^orBefore, l.seqAt(sender, l.plan.end()); first < end {
				l.lose(i, sender, span{first: first, end: end})
				*due = end
			}
		}
	}
	if l.cfg.Timed {
		l.timeLost(clock())
	}
	return nil
}

// timeLost records the latency of what is lost of this schedule.
func (l *loop) timeLost(now time.Duration) {
	for s, spans := range l.ledger.lost {
		first, end := l.seqAt(s.sender, l.plan.First), l.seqAt(s.sender, l.plan.end())
		for i, sp := range spans {
			if sp.timed {
				continue
			}
			spans[i].timed = true
			for seq := max(sp.first, first); seq < min(sp.end, end); seq++ {
				n := l.number(message{uint32(s.sender), seq})
				l.stats.Latency.record(now-l.plan.due(n), 1)
			}
		}
	}
}

// repeated takes a message before the one that is due.
func (l *loop) repeated(i int, m message, due uint64) error {
	if found, ok := l.ledger.find(stream{i, int(m.sender)}, m.seq); ok {
		if l.cfg.Timed && !found.timed {
			l.time(m)
		}
		l.stats.Lost--
		l.conns[i].lost--
		l.stats.Reordered++
		l.stats.Delivered++
		return nil
	}
	l.stats.Duplicated++
	return l.fault("message %d of sender %d came to connection %d again, %d was due", m.seq, m.sender, l.global(i), due)
}

// corrupted takes a message that is none of the swarm's.
func (l *loop) corrupted(i int) error {
	l.stats.Corrupted++
	return l.fault("a message came damaged to connection %d", l.global(i))
}

// fault is an error if the swarm is strict.
func (l *loop) fault(format string, args ...any) error {
	if !l.cfg.Strict {
		return nil
	}
	return fmt.Errorf("swarm: "+format, args...)
}
