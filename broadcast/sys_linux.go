package broadcast

import (
	"syscall"
	"time"
	"unsafe"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// maxPieces bounds the pieces of one sendmsg(2). 64 full segments are 16 MiB, more than a socket takes at once.
const maxPieces = 64

// sockets is the seam between the server and the kernel's data path. It is implemented by the kernel's sockets, and
// by tests that inject faults or count calls. All calls are non-blocking. They return EAGAIN as a value, not as an
// error. b and pieces are borrowed until the call returns.
type sockets interface {
	// accept4 wraps accept4(2) with SOCK_NONBLOCK and SOCK_CLOEXEC.
	accept4(fd int) (nfd int, errno unix.Errno)
	// recv wraps recv(2).
	recv(fd int, b []byte) (n int, errno unix.Errno)
	// send wraps send(2), or sendmsg(2) if there is more than one piece.
	// There must be at least one piece, and at most maxPieces.
	send(fd int, pieces [][]byte) (n int, errno unix.Errno)
}

// poller is the seam to epoll. It is implemented by netpoll.Poller, which documents the methods, and by tests that
// inject faults.
type poller interface {
	Add(fd int, events netpoll.Events, cb func(netpoll.Events)) error
	Del(fd int) error
	Yield(fd int)
	Close() error
}

// kernel implements sockets with system calls. It enters the kernel without telling Go's scheduler (RawSyscall): the
// calls do not block, and most of the work of a broadcast is in send. See docs/architecture.md for what this saves.
type kernel struct{}

const ioFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

func (*kernel) accept4(fd int) (int, unix.Errno) {
	nfd, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0,
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(nfd), errno
}

func (*kernel) recv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (k *kernel) send(fd int, pieces [][]byte) (int, unix.Errno) {
	if len(pieces) > 1 {
		return k.sendmsg(fd, pieces)
	}
	b := pieces[0]
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), ioFlags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (*kernel) sendmsg(fd int, pieces [][]byte) (int, unix.Errno) {
	var iov [maxPieces]unix.Iovec
	for i, b := range pieces {
		iov[i].Base = unsafe.SliceData(b)
		iov[i].SetLen(len(b))
	}
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(len(pieces))
	n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), ioFlags)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// cpuTime returns the processor time that the process has used, or 0 if the kernel does not tell: clock_gettime(2).
func cpuTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
