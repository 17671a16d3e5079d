package bench

import (
	"testing"
	"time"
)

// finished returns a pace of ten messages of two senders to two clients, sent at ten a
// second from ten seconds ago.
func finished() *pace {
	o := &options{conns: 2, senders: 2, rate: 10, duration: time.Second}
	s := &swarm{senders: 2, conns: []*conn{{phase: phaseOpen}, {phase: phaseOpen}}, due: make([]uint64, 4)}
	p := (&round{options: o, swarm: s}).newPace()
	p.start = p.start.Add(-10 * time.Second)
	p.sent = p.total
	return p
}

func TestPaceNumbersMessagesInOrder(t *testing.T) {
	p := finished()
	for i := range p.total {
		m := message{uint32(i % 2), uint64(i / 2)}
		if got := p.number(m); got != i {
			t.Errorf("number of %v: got %d, want %d", m, got, i)
		}
	}
	if got, want := p.intended(5).Sub(p.start), 500*time.Millisecond; got != want {
		t.Errorf("the sixth: got %v, want %v", got, want)
	}
}

func TestAddMissing(t *testing.T) {
	p := finished()
	var h histogram
	// The first client has all but one in the middle, the second the first six.
	p.swarm.due = []uint64{5, 5, 3, 3}
	for range 9 + 6 {
		h.add(0)
	}
	if got := p.addMissing(&h); got != 5 || h.count != 20 {
		t.Errorf("got %d missing of %d, want 5 of 20", got, h.count)
	}
	if got := h.quantile(0.8); got < 9*time.Second || h.max < 10*time.Second {
		t.Errorf("the missing count as %v to %v, want above 9s and 10s", got, h.max)
	}
}

func TestTally(t *testing.T) {
	p := finished()
	p.swarm.conns = append(p.swarm.conns, &conn{phase: phaseCut}, &conn{phase: phaseCut, got: p.total})
	p.swarm.conns[0].got = p.total
	whole, cut, lacking := p.tally(p.swarm.conns)
	if whole != 2 || cut != 1 || lacking != 1 {
		t.Errorf("got %d whole, %d cut, %d lacking, want 2, 1, 1", whole, cut, lacking)
	}
}
