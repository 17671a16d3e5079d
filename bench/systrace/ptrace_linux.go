package systrace

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What asm-generic/siginfo.h names; x/sys does not.
const (
	cldTrapped = 4
	// syscallTrap is the signal of a syscall-stop under PTRACE_O_TRACESYSGOOD.
	syscallTrap = unix.SIGTRAP | 0x80
)

// event is what happened to a tracee or to the sentinel: the part of siginfo_t that
// waitid(2) fills in on 64-bit machines.
type event struct {
	_      [2]int32
	code   int32 // CLD_TRAPPED for a stop, else the thread ended.
	_      int32
	tid    int32
	_      uint32
	status int32 // Of a stop: the signal, and the PTRACE_EVENT_… above 8 bits.
	_      [100]byte
}

func (e *event) signal() unix.Signal { return unix.Signal(e.status & 0xff) }
func (e *event) kind() int32         { return e.status >> 8 }

// waitid wraps waitid(2) for the children and tracees of the calling thread. The event
// remains, for the parent to reap or until the thread is restarted.
func waitid(options int) (event, error) {
	var e event
	options |= unix.WNOWAIT | unix.WALL | unix.WNOTHREAD
	for {
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&e)), options, nil)
		if err != unix.EINTR {
			return e, err
		}
	}
}

// reap releases a thread that ended.
func reap(tid int) {
	for {
		_, err := unix.Wait4(tid, nil, unix.WALL|unix.WNOTHREAD, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// consume takes the stop after execve(2). Linux refuses ptrace(2) until then, in case the
// tracer means the former bearer of the id (looks_like_a_spurious_pid in the kernel's
// kernel/ptrace.c).
func consume(tid int) {
	const options = unix.WSTOPPED | unix.WNOHANG | unix.WALL | unix.WNOTHREAD
	_ = unix.Waitid(unix.P_PID, tid, nil, options, nil)
}

// ptrace wraps ptrace(2). That a thread is gone, killed in the midst of a stop, is no
// error: waitid tells of it.
func ptrace(request, tid int, addr, data uintptr) error {
	err := ptraceExisting(request, tid, addr, data)
	if err == unix.ESRCH {
		return nil
	}
	return err
}

// ptraceExisting wraps ptrace(2) too, and returns ESRCH.
func ptraceExisting(request, tid int, addr, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// syscallInfo is the head of struct ptrace_syscall_info in linux/ptrace.h.
type syscallInfo struct {
	op     uint8
	_      [7]byte
	_      [2]uint64
	number uint64 // With op PTRACE_SYSCALL_INFO_ENTRY only.
}

// getSyscallInfo wraps PTRACE_GET_SYSCALL_INFO. It is zero if the thread is gone.
func getSyscallInfo(tid int) (syscallInfo, error) {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 && errno != unix.ESRCH {
		return info, errno
	}
	return info, nil
}
