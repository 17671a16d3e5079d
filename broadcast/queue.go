package broadcast

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/ants/v2"
)

// task is something that wants a turn on a worker: a connection that can be
// read, or a listener that can accept. A turn never waits on a peer.
type task interface {
	turn(w *worker)
	// isCostly says whether its last turn was a long one, or its next will be. Any goroutine.
	isCostly() bool
	// panicked is called in the place of the rest of a turn that panicked.
	panicked(w *worker, v any, stack []byte)
}

// recvBytes is the size of a worker's buffer: what one recv(2) can bring.
const recvBytes = 64 << 10

// worker is what a goroutine of the pool works with, one turn after the other.
type worker struct {
	buf     []byte // recv(2) writes here; frames are decoded in place
	out     []byte // answers are put together here
	header  [ws.MaxHeaderSize]byte
	rd      bytes.Reader
	pongs   pongs                                   // to the pings of this turn, without their place
	control [2 + ws.MaxControlFramePayloadSize]byte // One of them is put together here.

	cost      int // of this turn: see longTurn
	atLong    bool
	handshake handshaker
	published time.Duration // when this turn began to put something into the log, after Server.started; or 0
}

// What turns cost is counted and not timed: a turn that the machine interrupts takes long,
// too. A frame costs 1, and so do so many bytes.
const (
	longTurn        = 500 // It ends when it can, and its task waits behind those that cost less.
	recvPerCost     = 512
	inflatePerCost  = 64
	deflatedPerCost = 8 // At its worst a byte takes 0.2 us, whether anything comes out of it or not.
)

// long says whether this turn is a long one by now.
func (w *worker) long() bool { return w.cost > longTurn }

// shortInARow is how many short turns may come before a long one that waits.
const shortInARow = 4

// queue gives turns to tasks on a bounded number of workers. Tasks whose last turn was
// short come first, and one worker is kept for them, so that those who flood, or send
// what is laborious, do not keep others waiting; among equals it is first come, first
// served. The ants pool has the goroutines; the queue holds what the pool would refuse
// while all are busy, so a task that was pushed gets its turn.
type queue struct {
	// Immutable after construction.
	pool    *ants.PoolWithFuncGeneric[*worker]
	size    int           // The number of workers.
	started chan struct{} // Closed when all of the pool's goroutines run.

	refusals atomic.Uint64 // Times that the pool did not take a worker.

	mu          sync.Mutex
	short, long ring      // Guarded by mu.
	shortRow    int       // Guarded by mu: short turns since the last long one.
	atLong      int       // Guarded by mu: workers whose turn came from long.
	idle        []*worker // Guarded by mu: workers without a goroutine.
}

// ring is tasks in the order in which they came.
type ring struct {
	tasks []task // Its length is a power of two, or 0.
	head  int    // The oldest.
	n     int
}

func (r *ring) push(t task) {
	if r.n == len(r.tasks) {
		r.resize(max(64, 2*r.n))
	}
	r.tasks[(r.head+r.n)&(len(r.tasks)-1)] = t
	r.n++
}

// pop takes the oldest; there must be one.
func (r *ring) pop() task {
	t := r.tasks[r.head]
	r.tasks[r.head] = nil
	r.head = (r.head + 1) & (len(r.tasks) - 1)
	r.n--
	if r.n == 0 && len(r.tasks) > 1024 {
		*r = ring{}
	}
	return t
}

// resize moves the tasks to a ring of size, which is a power of two.
func (r *ring) resize(size int) {
	tasks := make([]task, size)
	for i := range r.n {
		tasks[i] = r.tasks[(r.head+i)&(len(r.tasks)-1)]
	}
	r.tasks, r.head = tasks, 0
}

func newQueue(workers int, newWorker func() *worker) (*queue, error) {
	q := &queue{size: workers, started: make(chan struct{})}
	// Workers are few and stay, so there is nothing to purge. One that went idle
	// is on its way back to the pool for a moment; Invoke waits for that, which
	// is a matter of the scheduler and not of a peer.
	pool, err := ants.NewPoolWithFuncGeneric(workers, q.run, ants.WithDisablePurge(true))
	if err != nil {
		return nil, fmt.Errorf("broadcast: worker pool: %w", err)
	}
	q.pool = pool
	for range workers { // All goroutines start now: their number never changes.
		if err := pool.Invoke(newWorker()); err != nil {
			close(q.started)
			pool.Release()
			return nil, fmt.Errorf("broadcast: worker pool: %w", err)
		}
	}
	close(q.started)
	return q, nil
}

// push queues t for a turn. It may be called from anywhere.
func (q *queue) push(t task) {
	q.mu.Lock()
	if t.isCostly() {
		q.long.push(t)
	} else {
		q.short.push(t)
	}
	var w *worker
	if i := len(q.idle) - 1; i >= 0 {
		w = q.idle[i]
		q.idle = q.idle[:i]
	}
	q.mu.Unlock()
	if w == nil {
		return // All are busy; the first that is done takes it.
	}
	if err := q.pool.Invoke(w); err != nil { // Only after close.
		q.refusals.Add(1)
		q.mu.Lock()
		q.idle = append(q.idle, w)
		q.mu.Unlock()
	}
}

// pop takes the task whose turn it is. If there is none, w becomes idle.
func (q *queue) pop(w *worker) task {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.atLong {
		w.atLong = false
		q.atLong--
	}
	long := q.long.n > 0 && (q.atLong < q.size-1 || q.size == 1)
	switch {
	case q.short.n > 0 && (q.shortRow < shortInARow || !long):
		q.shortRow++
		return q.short.pop()
	case long:
		q.shortRow = 0
		w.atLong = true
		q.atLong++
		return q.long.pop()
	}
	q.idle = append(q.idle, w)
	return nil
}

// run is the pool's function: turns until there is no task left.
func (q *queue) run(w *worker) {
	<-q.started
	for {
		t := q.pop(w)
		if t == nil {
			return
		}
		w.cost = 0
		q.runTurn(t, w)
		if w.long() {
			runtime.Gosched() // A shard may wait for this processor.
		}
	}
}

func (q *queue) runTurn(t task, w *worker) {
	done := false
	defer func() {
		v := recover()
		if done {
			return
		}
		if v == nil {
			// A hook called runtime.Goexit, which takes this goroutine and must
			// not take the worker. Ends when there is no task.
			v = "runtime.Goexit"
			defer func() { go q.run(w) }() // Not before panicked is through with w.
		}
		t.panicked(w, v, debug.Stack())
	}()
	t.turn(w)
	done = true
}

// state is how many tasks wait, and how many of the workers are busy.
func (q *queue) state() (waiting, busy, workers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.short.n + q.long.n, q.size - len(q.idle), q.size
}

// quiet says whether there is no task and no worker busy.
func (q *queue) quiet() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.short.n+q.long.n == 0 && len(q.idle) == q.size
}

// close stops the pool and waits for its goroutines for a while; a hook that
// does not return is left behind.
func (q *queue) close() {
	_ = q.pool.ReleaseTimeout(5 * time.Second)
}
