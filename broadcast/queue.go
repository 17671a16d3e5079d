package broadcast

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/ants/v2"
)

// task is something that wants a turn on a worker: a connection that can be
// read, or a listener that can accept. A turn never waits on a peer.
type task interface {
	turn(w *worker)
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

	handshake handshaker
	inflater  inflater
	published bool // this turn put something into the log
}

// queue gives turns to tasks, first come first served, on a bounded number of
// workers. The ants pool has the goroutines; the queue holds what the pool
// would refuse while all are busy, so a task that was pushed gets its turn.
type queue struct {
	// Immutable after construction.
	pool    *ants.PoolWithFuncGeneric[*worker]
	size    int           // The number of workers.
	started chan struct{} // Closed when all of the pool's goroutines run.

	mu   sync.Mutex
	ring []task    // Guarded by mu: a ring buffer; its length is a power of two.
	head int       // Guarded by mu: the oldest task in ring.
	n    int       // Guarded by mu: how many there are.
	idle []*worker // Guarded by mu: workers without a goroutine.
}

func newQueue(workers int, newWorker func() *worker) (*queue, error) {
	q := &queue{ring: make([]task, 64), size: workers, started: make(chan struct{})}
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
	if q.n == len(q.ring) {
		q.resize(2 * len(q.ring))
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = t
	q.n++
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
		q.mu.Lock()
		q.idle = append(q.idle, w)
		q.mu.Unlock()
	}
}

// pop takes the oldest task. If there is none, w becomes idle.
func (q *queue) pop(w *worker) task {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		q.idle = append(q.idle, w)
		if len(q.ring) > 1024 {
			q.resize(64)
		}
		return nil
	}
	t := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return t
}

// resize moves the tasks to a ring of size, which is a power of two.
func (q *queue) resize(size int) {
	ring := make([]task, size)
	for i := range q.n {
		ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
	}
	q.ring, q.head = ring, 0
}

// run is the pool's function: turns until there is no task left.
func (q *queue) run(w *worker) {
	<-q.started
	for {
		t := q.pop(w)
		if t == nil {
			return
		}
		q.turn(t, w)
	}
}

func (q *queue) turn(t task, w *worker) {
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

// quiet says whether there is no task and no worker busy.
func (q *queue) quiet() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n == 0 && len(q.idle) == q.size
}

// close stops the pool and waits for its goroutines for a while; a hook that
// does not return is left behind.
func (q *queue) close() {
	_ = q.pool.ReleaseTimeout(5 * time.Second)
}
