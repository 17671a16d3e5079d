package swarm

import (
	"fmt"
	"time"
)

// schedule says when messages are due: total of them from number first on, in bursts,
// with an interval from one burst to the next.
type schedule struct {
	First    int
	Total    int
	Burst    int
	Start    time.Duration // by clock
	Interval time.Duration
}

// clock is the time that all processes of a swarm share: CLOCK_MONOTONIC,
// clock_gettime(2).
func clock() time.Duration { return clockBase + time.Since(clockStart) }

// end is the number after the last message.
func (s *schedule) end() int { return s.First + s.Total }

// due returns when message n is due; those before the schedule's count as its first.
func (s *schedule) due(n int) time.Duration {
	return s.Start + time.Duration(max(n-s.First, 0)/s.Burst)*s.Interval
}

// number returns the number of a message.
func (l *loop) number(m message) int { return int(m.seq)*l.cfg.Senders + int(m.sender) }

// time records the latency of a delivery that came now.
func (l *loop) time(m message) {
	n := l.number(m)
	if n >= l.plan.end() {
		// Another loop was told of the schedule before this one was.
		if len(l.early) < maxEarly {
			l.early = append(l.early, early{n, l.readAt})
		}
		return
	}
	l.timed(n, l.readAt)
}

// early is a delivery that came before this loop knew when it was due.
type early struct {
	number int
	at     time.Duration
}

func (l *loop) timed(n int, at time.Duration) {
	after := at - l.plan.due(n)
	l.stats.Latency.record(after, 1)
	if n >= l.plan.First {
		after = at - l.plan.Start
		if l.stats.First == 0 || after < l.stats.First {
			l.stats.First = after
		}
		l.stats.Last = max(l.stats.Last, after)
	}
}

// maxEarly bounds what comes early and is timed all the same.
const maxEarly = 1 << 20

// begin starts on a schedule: all connections are owed its messages, also those that the
// server closed. One that joins may miss the first ones if it is not greeted yet.
func (l *loop) begin(plan schedule) {
	l.plan = plan
	l.stats.First, l.stats.Last = 0, 0
	l.next = plan.First
	for i, c := range l.conns {
		owed := plan.Total
		if c.joining {
			if c.phase < phaseOpen || c.since >= plan.Start {
				continue
			}
			owed = l.settleIn(i)
		}
		l.owe(c, owed)
	}
	for _, e := range l.early {
		l.timed(e.number, e.at)
	}
	l.early = l.early[:0]
}

// settleIn ends the time in which it is not known what is due to a connection, and
// returns how many messages up to the end of the schedule it is still to get.
func (l *loop) settleIn(i int) (owed int) {
	l.conns[i].joining = false
	senders := l.cfg.Senders
	due := l.due[i*senders:][:senders]
	for sender := range due {
		if due[sender] == anySeq {
			due[sender] = l.seqAt(sender, l.plan.First) | orBefore
		}
		owed += int(l.seqAt(sender, l.plan.end()) - due[sender]&^orBefore)
	}
	return owed
}

// seqAt returns how many of the messages before number n are a sender's.
func (l *loop) seqAt(sender, n int) uint64 {
	return uint64((n + l.cfg.Senders - 1 - sender) / l.cfg.Senders)
}

// sendDue sends the bursts that are due, and returns the time until the next; negative
// once all are sent. Of many it sends some, so that what comes is read in between.
func (l *loop) sendDue() (time.Duration, error) {
	const some = 64
	for n := 0; l.next < l.plan.end(); n++ {
		due := l.plan.due(l.next)
		now := clock()
		if due > now {
			return due - now, nil
		}
		if n == some {
			return 0, nil
		}
		sent, err := l.sendBurst(min(l.plan.Burst, l.plan.end()-l.next))
		if err != nil {
			return 0, err
		}
		if sent > 0 && l.plan.Interval > 0 {
			l.stats.Late.record(now-due, sent)
		}
		l.next += l.plan.Burst
	}
	return -1, nil
}

// sendBurst sends this loop's part of n messages from the next on, each sender's in one
// write.
func (l *loop) sendBurst(n int) (sent int, err error) {
	senders := l.cfg.Senders
	for k := range min(n, senders) {
		sender := (l.next + k) % senders
		if sender%l.of != l.id {
			continue
		}
		if sender/l.of >= len(l.conns) {
			return sent, fmt.Errorf("swarm: connection %d, which sends, was not made", sender)
		}
		c := l.conns[sender/l.of]
		if c.phase != phaseOpen {
			if l.plan.Interval == 0 {
				return sent, fmt.Errorf("swarm: connection %d, which sends, is closed: %s", sender, l.stats.Error)
			}
			continue // In open loop what it does not send is lost, for all.
		}
		l.frames = l.frames[:0]
		for number := l.next + k; number < l.next+n; number += senders {
			m := message{uint32(sender), uint64(number / senders)}
			l.frames = m.appendFrame(l.frames, l.cfg.Size)
			sent++
		}
		if err := l.send(c, l.frames); err != nil {
			return sent, err
		}
	}
	l.stats.Sent += sent
	return sent, nil
}
