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

// task is a connection that can be read or a listener that can accept. A turn never waits for a peer.
type task interface {
	turn(w *worker)
	// isCostly reports whether the last turn was a long one, or the next will be. Any goroutine may call it.
	isCostly() bool
	// panicked replaces the rest of a turn that panicked with v.
	panicked(w *worker, v any, stack []byte)
}

// recvBytes is the size of a worker's buffer, and so the most that one recv(2) returns.
const recvBytes = 64 << 10

// worker is what a goroutine of the pool works with. Owned by that goroutine, and idle workers by the queue.
type worker struct {
	buf     []byte // recv(2) writes here; frames are decoded in place.
	out     []byte // Answers are assembled here.
	header  [ws.MaxHeaderSize]byte
	rd      bytes.Reader
	pongs   pongs                                   // Answers to the pings of this turn, at place 0.
	control [2 + ws.MaxControlFramePayloadSize]byte // One control frame is assembled here.

	cost      int  // Of this turn: see longTurn.
	atLong    bool // Guarded by queue.mu: this turn is from queue.long.
	handshake handshaker
	published time.Duration // When this turn first published something, after Server.started; 0 if it has not.
}

// The cost of a turn is counted and not timed, because a turn also takes long if the machine interrupts it. A frame
// costs 1. So does each of these numbers of bytes.
const (
	recvPerCost     = 512
	inflatePerCost  = 64 // Of inflated output.
	deflatedPerCost = 8  // Of compressed input. At worst a byte takes 0.2 us, even if no output results.
)

// longTurn is the cost above which a turn is long. A long turn ends as soon as it can, and its task then waits behind
// tasks whose turns are short.
const longTurn = 500

// long reports whether this turn is a long one by now.
func (w *worker) long() bool { return w.cost > longTurn }

// shortInARow is how many short turns may precede a long one that is queued.
const shortInARow = 4

// queue gives turns to tasks on a bounded number of workers. Tasks whose last turn was short go first, and one worker
// is kept for them. So peers that flood, or send what takes long to decode, do not delay the others. Among equals the
// order is first come, first served. The ants pool provides the goroutines, but would refuse work while all of them
// are busy; the queue keeps it, so every task that was pushed gets its turn.
type queue struct {
	// Immutable after construction.
	pool    *ants.PoolWithFuncGeneric[*worker]
	size    int           // The number of workers.
	started chan struct{} // Closed when all of the pool's goroutines run.

	refusals atomic.Uint64 // Written by push, read by Server.Stats: how often the pool refused a worker.

	mu          sync.Mutex
	short, long ring      // Guarded by mu: tasks that wait for a turn, by their last cost.
	shortRow    int       // Guarded by mu: short turns since the last long one.
	atLong      int       // Guarded by mu: workers whose turn is from long.
	idle        []*worker // Guarded by mu: workers without a goroutine.
}

// ring is a queue of tasks in the order of their arrival. It is guarded by queue.mu.
type ring struct {
	tasks []task // Its length is a power of two, or 0.
	head  int    // Index of the oldest task.
	n     int    // The number of tasks.
}

func (r *ring) push(t task) {
	if r.n == len(r.tasks) {
		r.resize(max(64, 2*r.n))
	}
	r.tasks[(r.head+r.n)&(len(r.tasks)-1)] = t
	r.n++
}

// pop takes out the oldest task. There must be one.
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

// resize moves the tasks to a ring of size, which is a power of two and large enough.
func (r *ring) resize(size int) {
	tasks := make([]task, size)
	for i := range r.n {
		tasks[i] = r.tasks[(r.head+i)&(len(r.tasks)-1)]
	}
	r.tasks, r.head = tasks, 0
}

// newQueue starts the goroutines of workers. close ends them.
func newQueue(workers int, newWorker func() *worker) (*queue, error) {
	q := &queue{size: workers, started: make(chan struct{})}
	// Workers are few and live as long as the queue, so there is nothing to purge. A goroutine whose worker became idle
	// needs a moment to return to the pool. Invoke waits for that, which depends on the scheduler and not on a peer.
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

// push queues t for a turn. Any goroutine may call it. It does not block.
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
		return // All workers are busy; the first one that ends its turn takes t.
	}
	if err := q.pool.Invoke(w); err != nil { // ErrPoolClosed: only after close.
		q.refusals.Add(1)
		q.mu.Lock()
		q.idle = append(q.idle, w)
		q.mu.Unlock()
	}
}

// pop takes out the task whose turn is next. If there is none, w becomes idle and pop returns nil.
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

// run is the function of the pool's goroutines: it runs turns until there is no task left.
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
			runtime.Gosched() // A shard may be ready to run on this processor.
		}
	}
}

// runTurn runs one turn, and replaces its rest with panicked if the turn panics.
func (q *queue) runTurn(t task, w *worker) {
	done := false
	defer func() {
		v := recover()
		if done {
			return
		}
		if v == nil {
			// A hook has called runtime.Goexit, which ends this goroutine but must not end the worker. The new
			// goroutine ends when there is no task; close does not wait for it.
			v = "runtime.Goexit"
			defer func() { go q.run(w) }() // After panicked, which uses w.
		}
		t.panicked(w, v, debug.Stack())
	}()
	t.turn(w)
	done = true
}

// state returns the numbers of queued tasks, busy workers, and all workers.
func (q *queue) state() (waiting, busy, workers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.short.n + q.long.n, q.size - len(q.idle), q.size
}

// quiet reports whether no task is queued and no worker is busy.
func (q *queue) quiet() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.short.n+q.long.n == 0 && len(q.idle) == q.size
}

// close stops the pool and waits for its goroutines, at most 5 s: a hook that does not return is left running.
func (q *queue) close() {
	_ = q.pool.ReleaseTimeout(5 * time.Second)
}
