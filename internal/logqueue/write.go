package logqueue

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// writer is the goroutine of a Queue, which owns all fields.
type writer struct {
	*Queue
	unnoticed uint64 // Dropped lines for which no notice has been written yet.
	failing   bool   // The last write failed. Only the next line is a new attempt.
	inLine    bool   // The output ends in the middle of a line.
}

// run writes what is queued until Close.
func (q *Queue) run() {
	defer close(q.stopped)
	w := writer{Queue: q}
	for {
		entries, closing := w.takeQueued()
		for _, e := range entries {
			w.process(e)
		}
		if len(entries) > 0 {
			continue
		}
		if w.unnoticed > 0 && !w.failing {
			w.writeNotice()
		}
		if closing {
			return
		}
		<-q.wake
	}
}

// takeQueued returns all queued entries. If there are none, it takes over the count of the lines that were dropped
// last.
func (w *writer) takeQueued() (entries []entry, closing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queued) == 0 {
		w.unnoticed += w.missing
		w.missing = 0
	}
	entries, w.queued = w.queued, nil // An idle queue holds no memory.
	return entries, w.closing
}

// process writes a line or completes a Flush, and frees the room of the entry.
func (w *writer) process(e entry) {
	w.unnoticed += e.missing
	if e.flushed != nil {
		close(e.flushed)
		return
	}
	if w.unnoticed > 0 && !w.writeNotice() || !w.write(e.line) {
		w.unnoticed++
		w.dropped.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes -= len(e.line) + lineBytes
}

// writeNotice writes the notice about dropped lines, and reports whether it was written.
func (w *writer) writeNotice() bool {
	w.mu.Lock()
	notice := w.notice
	w.mu.Unlock()
	if !w.write(notice(w.unnoticed)) {
		return false
	}
	w.unnoticed = 0
	return true
}

// write writes a line and reports whether it was written completely. It blocks while a pipe or a terminal is full,
// even in non-blocking mode, which any process that shares the output may have set (fcntl(2)). Every other error
// concerns only this line: a disk may have room again, and a named pipe a new reader.
func (w *writer) write(line []byte) bool {
	if w.inLine {
		line = append([]byte("\n"), line...)
	}
	for {
		n, err := w.out.Write(line)
		if n > 0 {
			w.inLine = n < len(line)
		}
		line = line[n:]
		if !errors.Is(err, unix.EAGAIN) {
			w.failing = err != nil
			return !w.failing
		}
		w.awaitRoom(n > 0)
	}
}

// awaitRoom waits until the output is writable, poll(2), but at most a second. moved is whether the last write made
// progress.
func (w *writer) awaitRoom(moved bool) {
	const longest, pause = time.Second, 10 * time.Millisecond
	if !moved {
		time.Sleep(pause) // Keeps the caller from spinning, whatever poll returns.
	}
	out, ok := w.out.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := out.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // If it fails, the next write has the error.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(longest.Milliseconds()))
	})
}
