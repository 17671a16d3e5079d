package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/crier-ws/crier/internal/logqueue"
)

// logPatience is how long crier waits for its log when it ends.
const logPatience = 500 * time.Millisecond

// streams is where a command writes what is not its output.
type streams struct{ log io.Writer }

// flush waits for the log, but not for long: its reader may have stopped.
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

// errReaderGone is the error of output that nobody reads any longer: crier sub | head -1.
var errReaderGone = fmt.Errorf("standard output: %w", syscall.EPIPE)

// output is standard output. Its errors are told apart from those of connections.
type output struct{ file *os.File }

// Write writes p. The error is errReaderGone if the pipe has no reader.
func (o output) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errReaderGone
	}
	return n, err
}

// SyscallConn is the file's: term.IsTerminal asks for it.
func (o output) SyscallConn() (syscall.RawConn, error) { return o.file.SyscallConn() }

// outliveReaders makes a write to a pipe without a reader an error. Go ends the process by SIGPIPE if that is
// standard output or standard error, even where the parent ignores SIGPIPE. The signal is caught and not ignored,
// because children inherit the latter.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
