package systrace

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// options are set on each thread as it is seized, and inherited by those it creates.
// TRACECLONE also takes in processes made by clone(2) with another exit signal than
// SIGCHLD, which no libc does.
const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE |
	unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACEEXIT

// tracer follows the threads of one process.
type tracer struct {
	// Immutable after construction.
	pid      int
	sentinel *exec.Cmd
	// stdin ends the sentinel as it is closed. Owned by stop, or by run before attached.
	stdin    io.Closer
	attached chan error    // Receives once.
	ended    chan struct{} // Closed when run is through.

	// Atomic: written by Count and stop, read by count.
	counting atomic.Bool
	// Atomic: written by stop, read by follow.
	stopping atomic.Bool
	// Atomic: written by pass, read by settle.
	stops atomic.Uint64

	// Owned by run; read by Count after ended.
	calls Calls
	err   error

	// Owned by run.
	threads  map[int]bool // Seized; true until the first stop.
	starting int          // How many of them are true.
	leaving  bool         // Each further stop detaches its thread.
	dead     bool         // The process is a zombie.
}

func newTracer(pid int) (*tracer, error) {
	sentinel := exec.Command("cat")
	// Out of reach of a terminal's SIGINT.
	sentinel.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := sentinel.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &tracer{
		pid: pid, sentinel: sentinel, stdin: stdin,
		attached: make(chan error, 1), ended: make(chan struct{}),
		calls: Calls{}, threads: map[int]bool{},
	}, nil
}

// stop makes run detach, and waits for that.
func (t *tracer) stop() {
	t.counting.Store(false)
	t.stopping.Store(true)
	_ = t.stdin.Close()
	<-t.ended
}

// run is the tracer thread, from attaching to detaching.
func (t *tracer) run() {
	defer close(t.ended)
	// Started by this thread, so that its waitid sees the sentinel end.
	if err := t.sentinel.Start(); err != nil {
		_ = t.stdin.Close()
		t.attached <- fmt.Errorf("systrace: the sentinel: %w", err)
		return
	}
	if err := t.attach(); err != nil {
		_ = t.stdin.Close()
		t.leave()
		t.attached <- err
		return
	}
	t.attached <- nil
	t.err = t.follow()
	t.leave()
}

// attach seizes all threads and waits until each was stopped and passed on once. A thread
// in the midst of clone(2) while it is seized does not pass that on to the new one, but
// is through with it at its first stop; so it looks again after that.
func (t *tracer) attach() error {
	for {
		found, err := t.seizeNew()
		if err != nil {
			return err
		}
		if found == 0 {
			break
		}
		for t.starting > 0 && !t.dead {
			if err := t.next(); err != nil {
				return err
			}
		}
	}
	if len(t.threads) == 0 || t.dead {
		return ErrEnded
	}
	return nil
}

// seizeNew seizes the threads that are not yet and returns their number.
func (t *tracer) seizeNew() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	if err != nil {
		return 0, nil // attach tells whether that is the end.
	}
	found := 0
	for _, entry := range entries {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			return 0, err
		}
		if _, known := t.threads[tid]; known {
			continue
		}
		ok, err := t.seize(tid)
		if err != nil {
			return 0, err
		}
		if ok {
			found++
		}
	}
	return found, nil
}

// seize makes a thread a tracee and reports whether it lives.
func (t *tracer) seize(tid int) (bool, error) {
	err := ptraceExisting(unix.PTRACE_SEIZE, tid, 0, options)
	if err == unix.ESRCH || err != nil && isZombie(tid) {
		return false, nil
	}
	if err == unix.EPERM && status(tid, "TracerPid") == strconv.Itoa(unix.Gettid()) {
		t.add(tid) // A seized thread created it; its first stop is yet to come.
		return true, nil
	}
	if err == unix.EPERM || err == unix.ENOSYS {
		return false, refusal(tid, err)
	}
	if err != nil {
		return false, os.NewSyscallError("ptrace", err)
	}
	t.add(tid)
	return true, ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
}

// follow passes stops on until the sentinel or the process ends.
func (t *tracer) follow() error {
	for !t.dead && t.sentinel.ProcessState == nil {
		if err := t.next(); err != nil {
			return err
		}
	}
	if t.dead || len(t.threads) == 0 {
		return ErrEnded
	}
	if !t.stopping.Load() {
		return fmt.Errorf("systrace: the sentinel: %v", t.sentinel.ProcessState)
	}
	return nil
}

// leave detaches all threads, each at its next stop, and waits for the sentinel's end,
// which is stop's doing.
func (t *tracer) leave() {
	t.leaving = true
	for tid := range t.threads {
		_ = ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
	}
	for !t.dead {
		// ECHILD says that neither a tracee nor the sentinel is left.
		if t.next() == errNone {
			return
		}
	}
	if t.sentinel.ProcessState == nil {
		_ = t.sentinel.Wait()
	}
}

// errNone says that the tracer thread has neither tracees nor children.
var errNone = os.NewSyscallError("waitid", unix.ECHILD)

// next waits for one event and handles it.
func (t *tracer) next() error {
	e, err := waitid(unix.WEXITED)
	if err == unix.ECHILD {
		return errNone
	}
	if err != nil {
		return os.NewSyscallError("waitid", err)
	}
	tid := int(e.tid)
	switch {
	case tid == t.sentinel.Process.Pid:
		// Its exit status says nothing that ProcessState does not.
		_ = t.sentinel.Wait()
		return nil
	case e.code == cldTrapped:
		return t.pass(tid, &e)
	case tid == t.pid:
		// All other threads are gone. The parent reaps it.
		t.dead = true
	default:
		reap(tid)
	}
	t.remove(tid)
	return nil
}

// pass lets a stopped thread go on, as ptrace(2) prescribes for each kind of stop.
func (t *tracer) pass(tid int, e *event) error {
	t.stops.Add(1)
	t.add(tid) // A new thread makes itself known by its first stop.
	t.started(tid)
	signal := uintptr(0)
	switch {
	case e.kind() == unix.PTRACE_EVENT_EXIT:
		// It makes no more calls. Without a tracer it needs nobody to reap it.
		t.remove(tid)
		return ptrace(unix.PTRACE_DETACH, tid, 0, 0)
	case e.kind() == unix.PTRACE_EVENT_EXEC:
		t.renamed(tid)
	case e.kind() == unix.PTRACE_EVENT_STOP && isStopping(e.signal()) && !t.leaving:
		return ptrace(unix.PTRACE_LISTEN, tid, 0, 0)
	case e.kind() != 0:
		// The creation of a thread, or what PTRACE_INTERRUPT brought about.
	case e.signal() == syscallTrap:
		if err := t.count(tid); err != nil {
			return err
		}
	default:
		signal = uintptr(e.signal()) // Signal-delivery-stop.
	}
	if t.leaving {
		t.remove(tid)
		return ptrace(unix.PTRACE_DETACH, tid, 0, signal)
	}
	return ptrace(unix.PTRACE_SYSCALL, tid, 0, signal)
}

// count counts a syscall-stop if it is an entry.
func (t *tracer) count(tid int) error {
	if !t.counting.Load() {
		return nil
	}
	info, err := getSyscallInfo(tid)
	if err != nil {
		return os.NewSyscallError("PTRACE_GET_SYSCALL_INFO", err)
	}
	if info.op == unix.PTRACE_SYSCALL_INFO_ENTRY {
		t.calls[int(info.number)]++
	}
	return nil
}

// add knows a thread from now on, if it did not yet.
func (t *tracer) add(tid int) {
	if _, known := t.threads[tid]; !known {
		t.threads[tid] = true
		t.starting++
	}
}

// started notes that a thread is in syscall-stop mode, or will be after SIGCONT.
func (t *tracer) started(tid int) {
	if t.threads[tid] {
		t.threads[tid] = false
		t.starting--
	}
}

func (t *tracer) remove(tid int) {
	t.started(tid)
	delete(t.threads, tid)
}

// renamed drops the former id of a thread that took over the leader's with execve(2).
func (t *tracer) renamed(tid int) {
	consume(tid)
	former, err := unix.PtraceGetEventMsg(tid)
	if err == nil && int(former) != tid {
		t.remove(int(former))
	}
}

// isStopping reports whether a signal stops a process by default.
func isStopping(signal unix.Signal) bool {
	switch signal {
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return true
	}
	return false
}
