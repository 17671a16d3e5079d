package logqueue

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxBytes is how much may wait, with lineBytes for each line.
const (
	maxBytes  = 256 << 10
	lineBytes = 64
)

// Queue is an io.Writer that never blocks. Make one with New. Its methods may be called from any goroutine.
type Queue struct {
	out     io.Writer // Used by the writer alone after New.
	wake    chan struct{}
	stopped chan struct{} // Closed when the writer has returned.
	dropped atomic.Uint64 // Lines that were not written whole.

	mu      sync.Mutex
	notice  func(lines uint64) []byte // Guarded by mu.
	waiting []entry                   // Guarded by mu.
	bytes   int                       // Guarded by mu: of waiting, and of the line that is being written.
	missing uint64                    // Guarded by mu: lines dropped since the newest entry.
	closing bool                      // Guarded by mu.
}

// entry is a line, or the end of a Flush, after a number of lines that were dropped.
type entry struct {
	missing uint64
	line    []byte
	flushed chan struct{} // Closed when all before it is done with. nil for a line.
}

// New returns a Queue that writes to out, and starts its goroutine, which Close ends. One call of Write to out has
// one line, unless out takes a part of it only.
func New(out io.Writer) *Queue {
	q := &Queue{out: out, wake: make(chan struct{}, 1), stopped: make(chan struct{}), notice: defaultNotice}
	go q.run() // Ends with Close, or with the process while out blocks.
	return q
}

func defaultNotice(lines uint64) []byte {
	return fmt.Appendf(nil, "%d lines could not be written here, and were dropped\n", lines)
}

// SetNotice sets what is written where lines are missing. notice is called by the goroutine that writes.
func (q *Queue) SetNotice(notice func(lines uint64) []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.notice = notice
}

// Write queues a copy of line, which should end with a newline. If there is no room, it drops and counts the line.
// It does not block, and returns len(line), nil: a program can do nothing about its log.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if size := len(line) + lineBytes; q.closing || q.bytes+size > maxBytes {
		q.missing++
		q.dropped.Add(1)
	} else {
		q.bytes += size
		q.pushLocked(entry{line: append([]byte(nil), line...)})
	}
	return len(line), nil
}

func (q *Queue) pushLocked(e entry) {
	e.missing, q.missing = q.missing, 0
	q.waiting = append(q.waiting, e)
	q.ring()
}

// ring wakes the writer. It does not block.
func (q *Queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Dropped returns how many lines were not written whole.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Flush waits until what was written to q before is written to the output or dropped, and returns true; or false if
// that takes longer than most.
func (q *Queue) Flush(most time.Duration) bool {
	flushed := make(chan struct{})
	q.mu.Lock()
	if q.closing {
		flushed = q.stopped
	} else {
		q.pushLocked(entry{flushed: flushed})
	}
	q.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-flushed:
		return true
	case <-timer.C:
		return false
	}
}

// Close is Flush, and ends the writer. Lines that are written to q later are dropped.
func (q *Queue) Close(most time.Duration) bool {
	q.mu.Lock()
	q.closing = true
	q.ring()
	q.mu.Unlock()
	return q.Flush(most)
}

// SyscallConn returns the output's, so that q counts as a terminal if the output is one.
func (q *Queue) SyscallConn() (syscall.RawConn, error) {
	if c, ok := q.out.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
