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

// maxBytes is the size of the queue, in which each line counts lineBytes in addition to its length.
const (
	maxBytes  = 256 << 10
	lineBytes = 64
)

// Queue is an io.Writer that does not block. Create one with New. Its methods are safe for concurrent use.
type Queue struct {
	// Immutable after construction.
	out     io.Writer // Used only by the writer.
	wake    chan struct{}
	stopped chan struct{} // Closed when the writer has returned.

	// Atomic: lines that were not written completely. Written by Write and the writer, read by Dropped.
	dropped atomic.Uint64

	mu      sync.Mutex
	notice  func(lines uint64) []byte // Guarded by mu.
	queued  []entry                   // Guarded by mu.
	bytes   int                       // Guarded by mu: size of queued, and of the line that is being written.
	missing uint64                    // Guarded by mu: lines dropped since the newest entry.
	closing bool                      // Guarded by mu.
}

// entry is a line or a mark of Flush.
type entry struct {
	missing uint64 // Lines that were dropped before it.
	line    []byte
	flushed chan struct{} // Closed when all earlier lines are written or dropped. nil for a line.
}

// New returns a Queue that writes to out, and starts its goroutine, which Close stops. Each call of out.Write has one
// line, unless out accepts only a part of it.
func New(out io.Writer) *Queue {
	q := &Queue{out: out, wake: make(chan struct{}, 1), stopped: make(chan struct{}), notice: defaultNotice}
	go q.run() // Stopped and awaited by Close, unless out blocks.
	return q
}

func defaultNotice(lines uint64) []byte {
	return fmt.Appendf(nil, "%d lines could not be written here, and were dropped\n", lines)
}

// SetNotice sets the text that is written in place of dropped lines. notice is called by the writing goroutine.
func (q *Queue) SetNotice(notice func(lines uint64) []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.notice = notice
}

// Write queues a copy of line, which should end with a newline. If the queue is full, it drops and counts the line.
// It does not block, and always returns len(line), nil, because a program can do nothing about its log.
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
	q.queued = append(q.queued, e)
	q.ring()
}

// ring wakes the writer. It does not block.
func (q *Queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Dropped returns how many lines were not written completely.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Flush waits until all lines that were queued before are written to the output or dropped. It returns false if that
// takes longer than timeout.
func (q *Queue) Flush(timeout time.Duration) bool {
	flushed := make(chan struct{})
	q.mu.Lock()
	if q.closing {
		flushed = q.stopped
	} else {
		q.pushLocked(entry{flushed: flushed})
	}
	q.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-flushed:
		return true
	case <-timer.C:
		return false
	}
}

// Close flushes like Flush, and stops the writing goroutine. Later lines are dropped.
func (q *Queue) Close(timeout time.Duration) bool {
	q.mu.Lock()
	q.closing = true
	q.ring()
	q.mu.Unlock()
	return q.Flush(timeout)
}

// SyscallConn returns the raw connection of the output, so that q counts as a terminal if the output is one.
func (q *Queue) SyscallConn() (syscall.RawConn, error) {
	if c, ok := q.out.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
