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

// streams is where a command writes everything that is not its output.
type streams struct{ log io.Writer }

// flush waits until the log is written, for logPatience at most: its reader may have stopped.
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

// outputError is why standard output could not be written. Its type tells it from errors of connections and settings.
type outputError struct{ err error }

func (e *outputError) Error() string { return "standard output: " + e.err.Error() }

// Unwrap returns the cause.
func (e *outputError) Unwrap() error { return e.err }

// errReaderGone is the error of output that nobody reads any longer: crier sub | head -1.
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

// SyscallConn returns that of the file, for term.IsTerminal.
func (o output) SyscallConn() (syscall.RawConn, error) { return o.file.SyscallConn() }

// outliveReaders makes a write to a pipe without a reader an error. Go ends the process by SIGPIPE if that is
// standard output or standard error, even where the parent ignores SIGPIPE. The signal is caught and not ignored,
// because children inherit the latter.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
