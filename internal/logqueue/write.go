package logqueue

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// writer is the goroutine of a Queue.
type writer struct {
	*Queue
	unsaid  uint64 // Lines that were dropped, and that no notice has told of yet.
	failing bool   // The last write failed: the next line tries again, and nothing else does.
	inLine  bool   // The output ends in the middle of a line.
}

// run writes what is queued until Close.
func (q *Queue) run() {
	defer close(q.stopped)
	w := writer{Queue: q}
	for {
		entries, closing := w.take()
		for _, e := range entries {
			w.entry(e)
		}
		if len(entries) > 0 {
			continue
		}
		if w.unsaid > 0 && !w.failing {
			w.writeNotice()
		}
		if closing {
			return
		}
		<-q.wake
	}
}

// take returns all that waits. If nothing does, it takes over the count of the lines that were dropped last.
func (w *writer) take() (entries []entry, closing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.unsaid += w.missing
		w.missing = 0
	}
	entries, w.waiting = w.waiting, nil // An idle queue keeps no memory.
	return entries, w.closing
}

// entry does what an entry is for, and gives its room back.
func (w *writer) entry(e entry) {
	w.unsaid += e.missing
	if e.flushed != nil {
		close(e.flushed)
		return
	}
	if w.unsaid > 0 && !w.writeNotice() || !w.write(e.line) {
		w.unsaid++
		w.dropped.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes -= len(e.line) + lineBytes
}

// writeNotice tells of the lines that were dropped, and reports whether it could.
func (w *writer) writeNotice() bool {
	w.mu.Lock()
	notice := w.notice
	w.mu.Unlock()
	if !w.write(notice(w.unsaid)) {
		return false
	}
	w.unsaid = 0
	return true
}

// write writes a line and reports whether all of it was taken. It blocks as long as a pipe or a terminal is full,
// even in non-blocking mode, which any process that shares the output may have set (fcntl(2)). Every other error
// concerns this line only: a disk may have room again, and a named pipe a new reader.
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

// awaitRoom waits until the output takes something, poll(2), or for a second; moved reports whether it just did.
func (w *writer) awaitRoom(moved bool) {
	const longest, pause = time.Second, 10 * time.Millisecond
	if !moved {
		time.Sleep(pause) // Whatever poll says, this does not spin.
	}
	out, ok := w.out.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := out.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // If it fails, the next write shows why.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(longest.Milliseconds()))
	})
}
