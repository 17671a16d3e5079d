package measure

import (
	"testing"
	"time"

	"github.com/crier-ws/crier/bench/scale/model"
)

// TestHandshakes: new clients, and those with a ticket, which handshakes makes sure of.
func TestHandshakes(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		if cpu, err := handshakes(5, resumed); err != nil || cpu <= 0 {
			t.Errorf("resumed: %t: got %v us, %v", resumed, cpu, err)
		}
	}
}

// TestLines: what was measured on a line is that line.
func TestLines(t *testing.T) {
	cpu := func(p point) float64 { return p.CPU }
	at := func(readers, size float64) point {
		return point{Usage{CPU: 10 + 2*size/1024 + readers*(3+size/1024)}, readers}
	}
	message, reader := lines([2]point{at(0, small), at(64, small)}, [2]point{at(0, large), at(64, large)}, cpu)
	for _, size := range []float64{small, 512, large} {
		if got, want := message.At(size), 10+2*size/1024; got-want > 1e-9 || want-got > 1e-9 {
			t.Errorf("%v B: a message: got %v, want %v", size, got, want)
		}
		if got, want := reader.At(size), 3+size/1024; got-want > 1e-9 || want-got > 1e-9 {
			t.Errorf("%v B: a reader: got %v, want %v", size, got, want)
		}
	}
	if l := between(5, 4); l != (model.Linear{Base: 5}) {
		t.Errorf("larger ones that cost less: got %v", l)
	}
}

// TestMerge: each constant is the median of its own.
func TestMerge(t *testing.T) {
	var rounds []model.Costs
	for _, v := range []float64{3, 100, 1} {
		var c model.Costs
		c.R3.Store.PerKiB, c.Accept, c.CoreBytes = v, 2*v, -v
		rounds = append(rounds, c)
	}
	m := merge(rounds)
	if m.R3.Store.PerKiB != 3 || m.Accept != 6 || m.CoreBytes != -3 || m.R1.Join != 0 {
		t.Errorf("got %+v", m)
	}
}

// TestUsed: what a process has used is seen.
func TestUsed(t *testing.T) {
	p, err := start("sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		u, each, err := usedBy(p)
		if err != nil || len(each) != 1 || each[0] != u.cpu {
			t.Fatalf("got %+v, %v, %v", u, each, err)
		}
		if u.cpu > 10*time.Millisecond {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v", u.cpu)
		}
	}
}
