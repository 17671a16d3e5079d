package broadcast

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// job is a task made of functions.
type job struct {
	turnstile // Only isCostly is of use.

	do    func(w *worker)
	after func(v any) // If it panicked.
}

func (j *job) turn(w *worker)                      { j.do(w) }
func (j *job) panicked(_ *worker, v any, _ []byte) { j.after(v) }

func openQueue(t testing.TB, workers int) *queue {
	t.Helper()
	q, err := newQueue(workers, func() *worker { return new(worker) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.close)
	return q
}

// block takes up one worker until the returned function is called.
func (q *queue) block(t testing.TB) (free func()) {
	t.Helper()
	busy, gate := make(chan struct{}), make(chan struct{})
	q.push(&job{do: func(*worker) { close(busy); <-gate }})
	<-busy
	return func() { close(gate) }
}

// TestQueueFirstComeFirstServed: in the order of pushes, also where the ring
// wraps and where it grows while it is wrapped.
func TestQueueFirstComeFirstServed(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 128, 129, 1000} {
		q := openQueue(t, 1)
		for _, before := range []int{0, 1, 40, 63} { // Moves the ring's head.
			var got, want []int
			free := q.block(t)
			for i := range before + n {
				q.push(&job{do: func(*worker) { got = append(got, i) }})
				want = append(want, i)
			}
			free()
			eventually(t, "quiet", q.quiet)
			if !slices.Equal(got, want) {
				t.Fatalf("%d tasks after %d: got order %v, want 0 to %d", n, before, got, before+n-1)
			}
		}
	}
}

// TestQueueShrinks: the memory of a storm of tasks is freed.
func TestQueueShrinks(t *testing.T) {
	q := openQueue(t, 1)
	free := q.block(t)
	for range 5000 {
		q.push(&job{do: func(*worker) {}})
	}
	if got := len(q.short.tasks); got < 5000 {
		t.Errorf("ring during the storm: got %d places, want 5000 or more", got)
	}
	free()
	eventually(t, "quiet", q.quiet)
	if got := len(q.short.tasks); got > 64 {
		t.Errorf("ring after the storm: got %d places, want at most 64", got)
	}
}

// TestQueueShortFirst: tasks whose last turn was long wait for the others, but get their turns.
func TestQueueShortFirst(t *testing.T) {
	q := openQueue(t, 1)
	free := q.block(t)
	var got []byte
	push := func(name byte, long bool) {
		j := &job{do: func(*worker) { got = append(got, name) }}
		j.setCostly(long)
		q.push(j)
	}
	for range 3 {
		push('l', true)
	}
	for range 2*shortInARow + 1 {
		push('s', false)
	}
	q.shortRow = 0 // While the only worker is busy.
	free()
	eventually(t, "quiet", q.quiet)
	if want := "sssslssssls" + "l"; string(got) != want {
		t.Errorf("got order %s, want %s", got, want)
	}
}

// TestQueueKeepsAWorker: however many long turns there are, one worker takes none, if
// there are two at least.
func TestQueueKeepsAWorker(t *testing.T) {
	const workers = 3
	q := openQueue(t, workers)
	gate := make(chan struct{})
	var started atomic.Int32
	for range 2 * workers {
		j := &job{do: func(*worker) { started.Add(1); <-gate }}
		j.setCostly(true)
		q.push(j)
	}
	eventually(t, "the long turns to start", func() bool { return started.Load() == workers-1 })
	for range 10 { // One after the other: there is one worker for them.
		ran := make(chan struct{})
		q.push(&job{do: func(*worker) { close(ran) }})
		<-ran
	}
	if got := started.Load(); got != workers-1 {
		t.Errorf("long turns at a time: got %d, want %d", got, workers-1)
	}
	close(gate)
	eventually(t, "quiet", q.quiet)
	if got := started.Load(); got != 2*workers || q.atLong != 0 {
		t.Errorf("got %d long turns and %d workers at one, want %d and none", got, q.atLong, 2*workers)
	}
}

// TestQueueLosesNoTask pushes from many goroutines, and from turns, while
// workers become idle and busy again all the time.
func TestQueueLosesNoTask(t *testing.T) {
	const pushers, each, workers = 8, 2000, 2
	before := runtime.NumGoroutine()
	q := openQueue(t, workers)
	var ran, busy, most, goroutines atomic.Int64
	record := func(max *atomic.Int64, n int64) {
		for {
			if m := max.Load(); n <= m || max.CompareAndSwap(m, n) {
				return
			}
		}
	}
	var pushing sync.WaitGroup
	for p := range pushers {
		pushing.Go(func() {
			for i := range each {
				var j job
				again := i%7 == 0
				j.do = func(*worker) {
					record(&most, busy.Add(1))
					defer busy.Add(-1)
					if again {
						again = false
						q.push(&j)
						return
					}
					ran.Add(1)
				}
				q.push(&j)
				if i%(p+1) == 0 {
					record(&goroutines, int64(runtime.NumGoroutine()))
					runtime.Gosched() // So that workers run dry now and then.
				}
			}
		})
	}
	pushing.Wait()
	eventually(t, "quiet", q.quiet)
	if got := ran.Load(); got != pushers*each {
		t.Errorf("tasks: got %d, want %d", got, pushers*each)
	}
	if got := most.Load(); got > workers {
		t.Errorf("turns at a time: got %d, want %d at most", got, workers)
	}
	if got, want := goroutines.Load(), int64(before+pushers+2*workers); got > want {
		t.Errorf("goroutines: got %d, want %d at most", got, want)
	}
}

// TestQueueOneWorkerOneTurn: a worker's buffers are never used by two turns.
func TestQueueOneWorkerOneTurn(t *testing.T) {
	const workers = 3
	q := openQueue(t, workers)
	var mu sync.Mutex
	inUse := make(map[*worker]bool)
	seen := make(map[*worker]bool)
	var all sync.WaitGroup
	all.Add(workers)
	for range workers {
		q.push(&job{do: func(w *worker) { // All workers at a time.
			mu.Lock()
			seen[w] = true
			mu.Unlock()
			all.Done()
			all.Wait()
		}})
	}
	for range 3000 {
		q.push(&job{do: func(w *worker) {
			mu.Lock()
			if inUse[w] {
				t.Error("a worker has two turns at a time")
			}
			inUse[w] = true
			mu.Unlock()
			runtime.Gosched()
			mu.Lock()
			inUse[w] = false
			mu.Unlock()
		}})
	}
	eventually(t, "quiet", q.quiet)
	if got := len(seen); got != workers {
		t.Errorf("workers: got %d, want %d", got, workers)
	}
}

// TestQueuePanic: panicked is called for a turn that panics, and its worker continues.
func TestQueuePanic(t *testing.T) {
	q := openQueue(t, 1)
	var got []any
	for i := range 10 {
		q.push(&job{
			do:    func(*worker) { panic(i) },
			after: func(v any) { got = append(got, v) },
		})
	}
	var ran bool
	q.push(&job{do: func(*worker) { ran = true }})
	eventually(t, "quiet", q.quiet)
	if want := []any{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("panics: got %v, want %v", got, want)
	}
	if !ran {
		t.Error("the task after a panic did not run")
	}
}

// TestQueuePushAfterClose: nobody is blocked, and nothing runs.
func TestQueuePushAfterClose(t *testing.T) {
	q := openQueue(t, 1)
	q.push(&job{do: func(*worker) {}})
	eventually(t, "quiet", q.quiet)
	q.close()
	for range 10 {
		q.push(&job{do: func(*worker) { t.Error("a task ran after close") }})
	}
	if got := len(q.idle); got != 1 {
		t.Errorf("idle workers: got %d, want 1", got)
	}
}

// BenchmarkQueue measures a task from push to its turn.
func BenchmarkQueue(b *testing.B) {
	b.Run("wake", func(b *testing.B) { // The worker is idle, as under light load.
		q := openQueue(b, 1)
		done := make(chan struct{})
		j := &job{do: func(*worker) { done <- struct{}{} }}
		b.ReportAllocs()
		for b.Loop() {
			q.push(j)
			<-done
		}
	})
	b.Run("busy", func(b *testing.B) { // The worker has a backlog, as under full load.
		q := openQueue(b, 1)
		const batch = 64
		done := make(chan struct{})
		nothing := &job{do: func(*worker) {}}
		last := &job{do: func(*worker) { done <- struct{}{} }}
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if n%batch < batch-1 {
				q.push(nothing)
				continue
			}
			q.push(last)
			<-done
		}
		eventually(b, "quiet", q.quiet)
	})
}

func TestQueueGoexit(t *testing.T) {
	q, err := newQueue(1, newWorker)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	const tasks = 5
	var ran atomic.Int32
	for range tasks {
		q.push(&leaver{ran: &ran})
	}
	eventually(t, "every task to have its turn", func() bool { return ran.Load() == tasks && q.quiet() })
}

// leaver ends the goroutine of its turn.
type leaver struct {
	turnstile // Only isCostly is of use.

	ran *atomic.Int32
}

func (l *leaver) turn(*worker) { runtime.Goexit() }

func (l *leaver) panicked(*worker, any, []byte) { l.ran.Add(1) }
