package systrace

import (
	"errors"
	"time"
)

var (
	// ErrNotPermitted says that ptrace(2) was forbidden; the error that wraps it says
	// by what.
	ErrNotPermitted = errors.New("systrace: ptrace is not permitted")
	// ErrEnded says that the process ended before the load did.
	ErrEnded = errors.New("systrace: the process ended")
	// ErrAwaited says that this process waits for the end of the other one by wait4(2)
	// or waitid(2), as exec.Cmd.Wait does. See AwaitEnd.
	ErrAwaited = errors.New("systrace: a pending wait would take the stops")
)

// Count attaches to all threads of process pid, runs load and detaches. It returns how
// many system calls the threads, and those that they started meanwhile, entered while
// load ran. It blocks until load has returned and the process runs on as before, which
// also holds if load panics. Other processes, such as its forks, are not counted; after
// execve(2) the count goes on.
//
// A call that the kernel restarts after a signal was entered twice and counts twice.
// Attaching interrupts the threads' waits; what they do to wait again is not counted,
// because load starts only when the process has been quiet for some milliseconds, or was
// busy for a second.
//
// No wait4(2) or waitid(2) for pid may be pending or begin in this process meanwhile;
// Count returns an error that is ErrAwaited if it sees one. Its other errors are those
// of load, ErrEnded and ErrNotPermitted; the counts are nil then. One process can be
// counted by one Count at a time. It needs Linux 5.4 and cat(1).
func Count(pid int, load func() error) (calls Calls, err error) {
	if err := unawaited(pid); err != nil {
		return nil, err
	}
	t, err := newTracer(pid)
	if err != nil {
		return nil, err
	}
	// Ends on its own if it cannot attach, else by stop, which waits for it.
	go onChildlessThread(t.run)
	if err := <-t.attached; err != nil {
		<-t.ended
		return nil, err
	}
	// Deferred, because load may panic.
	defer func() {
		t.stop()
		if err = errors.Join(err, t.err); err == nil {
			calls = t.calls
		}
	}()
	t.settle()
	t.counting.Store(true)
	return nil, load()
}

// settle blocks until the threads have resumed what attaching interrupted.
func (t *tracer) settle() {
	const (
		quiet = 10 * time.Millisecond
		most  = time.Second
	)
	seen := t.stops.Load()
	for range most / quiet {
		time.Sleep(quiet)
		now := t.stops.Load()
		if now == seen {
			return
		}
		seen = now
	}
}
