package broadcast

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTurnstile(t *testing.T) {
	enter := func(flags uint32) func(*turnstile) bool {
		return func(ts *turnstile) bool { return ts.acquire(flags) }
	}
	closeIt := func(ts *turnstile) bool { return ts.set(closed) }
	type step struct {
		do   func(*turnstile) bool
		want bool
	}
	tests := []struct {
		name  string
		steps []step
		state uint32
	}{
		{"enter", []step{{enter(0), true}}, owned},
		{"enter and leave", []step{{enter(0), true}, {(*turnstile).relinquish, true}}, 0},
		{"enter again after leave", []step{{enter(0), true}, {(*turnstile).relinquish, true}, {enter(0), true}}, owned},
		{"event while owned", []step{{enter(0), true}, {enter(0), false}}, owned | again},
		{"event while owned keeps the owner once",
			[]step{{enter(0), true}, {enter(0), false}, {(*turnstile).relinquish, false}, {(*turnstile).relinquish, true}}, 0},
		{"several events while owned are one",
			[]step{{enter(0), true}, {enter(0), false}, {enter(0), false}, {(*turnstile).relinquish, false}, {(*turnstile).relinquish, true}}, 0},
		{"hup when free", []step{{enter(hup), true}}, owned | hup},
		{"hup while owned", []step{{enter(0), true}, {enter(hup), false}}, owned | again | hup},
		{"hup stays", []step{{enter(hup), true}, {(*turnstile).relinquish, true}, {enter(0), true}}, owned | hup},
		{"enter when closed", []step{{closeIt, false}, {enter(0), false}}, closed},
		{"closed while owned stays the owner's", []step{{enter(0), true}, {closeIt, false}, {(*turnstile).relinquish, false},
			{(*turnstile).relinquish, false}, {enter(0), false}}, owned | closed},
		{"closed after an event while owned", []step{{enter(0), true}, {enter(0), false}, {closeIt, false},
			{(*turnstile).relinquish, false}}, owned | again | closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ts turnstile
			for i, s := range tt.steps {
				if got := s.do(&ts); got != s.want {
					t.Fatalf("step %d: got %t, want %t", i, got, s.want)
				}
			}
			if got := ts.state.Load(); got != tt.state {
				t.Errorf("state: got %06b, want %06b", got, tt.state)
			}
		})
	}
}

func TestTurnstileFlags(t *testing.T) {
	for _, flag := range []uint32{hup, closed, heard, wantOut} {
		var ts turnstile
		ts.acquire(0)
		if ts.has(flag) || ts.takeFlag(flag) {
			t.Errorf("flag %06b: is set at first", flag)
		}
		if ts.set(flag) {
			t.Errorf("flag %06b: set says that it was set before", flag)
		}
		if !ts.set(flag) || !ts.has(flag) {
			t.Errorf("flag %06b: is not set after set", flag)
		}
		if !ts.takeFlag(flag) || ts.takeFlag(flag) || ts.has(flag) {
			t.Errorf("flag %06b: want taken exactly once", flag)
		}
		if got := ts.state.Load(); got != owned {
			t.Errorf("flag %06b: state: got %06b, want %06b", flag, got, owned)
		}
	}
}

// TestTurnstileLosesNoEvent lets loops raise events while workers acquire and relinquish the turnstile, and other
// flags change all the time. Each event must be seen by an owner that looks after the event, and there is one owner
// at a time.
func TestTurnstileLosesNoEvent(t *testing.T) {
	const loops, events, rounds = 3, 200, 100
	for range rounds {
		var (
			ts      turnstile
			pending atomic.Int64 // What a socket would hold.
			owners  atomic.Int32
			seen    atomic.Int64
			turns   = make(chan struct{}, 1)
			raising sync.WaitGroup
			working sync.WaitGroup
		)
		for range 2 {
			working.Go(func() {
				for range turns {
					for first := true; first || !ts.relinquish(); first = false {
						if owners.Add(1) != 1 {
							t.Error("two owners at a time")
						}
						seen.Add(pending.Swap(0))
						owners.Add(-1)
					}
				}
			})
		}
		for range loops {
			raising.Go(func() {
				for i := range events {
					pending.Add(1)
					if ts.acquire(0) {
						turns <- struct{}{}
					}
					ts.set(heard)
					if ts.takeFlag(heard); i%16 == 0 {
						runtime.Gosched()
					}
				}
			})
		}
		raising.Wait()
		eventually(t, "the last owner to leave", func() bool { return !ts.has(owned) })
		close(turns)
		working.Wait()
		if got, want := seen.Load(), int64(loops*events); got != want {
			t.Fatalf("events seen: got %d, want %d", got, want)
		}
	}
}
