package bench

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// connectsPerSource bounds the connections from one source address, well below the
// 28,000 ports that Linux has for one.
const connectsPerSource = 2000

// dial starts to connect the i-th client of a run to a port of 127.0.0.1, from one
// of the addresses 127.0.1.x. The socket does not block.
func dial(i, port int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + i/connectsPerSource)}}
	if err := unix.Bind(fd, source); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	to := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// abort closes a socket with RST, so that no port stays in TIME_WAIT.
func abort(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// write and read do not block: nothing to be done is no error, and ok is false.
func write(fd int, b []byte) (n int, ok bool, err error) { return transfer(unix.Write, fd, b) }
func read(fd int, b []byte) (n int, ok bool, err error)  { return transfer(unix.Read, fd, b) }

func transfer(call func(int, []byte) (int, error), fd int, b []byte) (int, bool, error) {
	for {
		n, err := call(fd, b)
		switch err {
		case nil:
			return n, true, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, false, nil
		default:
			return 0, false, err
		}
	}
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	in4, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("measure: getsockname gave %T", sa)
	}
	return in4.Port, nil
}
