package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/crier-ws/crier/internal/logqueue"
)

// logPatience is how long crier waits for its log when it ends.
const logPatience = 500 * time.Millisecond

// streams has the writer for everything that a command writes other than its output: log lines, errors and notes.
type streams struct{ log io.Writer }

// flush waits until the log is written, for logPatience at most: the reader of the log may have stopped.
func (s streams) flush() {
	if q, ok := s.log.(*logqueue.Queue); ok {
		q.Flush(logPatience)
	}
}

// dropped returns how many lines of the log could not be written.
func (s streams) dropped() uint64 {
	if q, ok := s.log.(*logqueue.Queue); ok {
		return q.Dropped()
	}
	return 0
}

// outputError is an error of writing to standard output. Its type distinguishes it from errors of connections and
// files.
type outputError struct{ err error }

func (e *outputError) Error() string { return "standard output: " + e.err.Error() }

// Unwrap returns the cause.
func (e *outputError) Unwrap() error { return e.err }

// errReaderGone is the error of writing to a pipe that nobody reads any longer, as in crier sub | head -1.
var errReaderGone error = &outputError{syscall.EPIPE}

// output is standard output. Its errors are of type *outputError.
type output struct{ file *os.File }

// Write writes p. The error is errReaderGone if the pipe has no reader.
func (o output) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		err = at.Err // The name of the file, /dev/stdout, is no help.
	}
	switch {
	case errors.Is(err, syscall.EPIPE):
		err = errReaderGone
	case err != nil:
		err = &outputError{err}
	}
	return n, err
}

// SyscallConn returns the raw connection of the file, for term.IsTerminal.
func (o output) SyscallConn() (syscall.RawConn, error) { return o.file.SyscallConn() }

// ignoreBrokenPipes makes a write to a pipe without a reader return an error. By default, Go ends the process by
// SIGPIPE if the pipe is standard output or standard error, even if the parent ignores SIGPIPE. The signal is caught
// instead of ignored, because child processes would inherit that.
func ignoreBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
