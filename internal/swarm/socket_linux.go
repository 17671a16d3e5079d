package swarm

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectsPerSource bounds the connections from one source address, well below the
// 28,000 ports that Linux has for one.
const connectsPerSource = 2000

// sourcesPerNet is how many addresses of each 127.0.x.0/24 are used.
const sourcesPerNet = 250

// dial starts to connect the i-th connection of a swarm. To a loopback address of IPv4
// it comes from one of the addresses 127.0.x.y, as one address has too few ports for
// all. The socket does not block.
func dial(i int, to netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if to.Addr().Is4() && to.Addr().IsLoopback() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source(i)}); err != nil {
			return -1, os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// source returns the address that the i-th connection comes from.
func source(i int) [4]byte {
	k := i / connectsPerSource
	return [4]byte{127, 0, byte(1 + k/sourcesPerNet), byte(1 + k%sourcesPerNet)}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	s := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		if link, err := net.InterfaceByName(zone); err == nil {
			s.ZoneId = uint32(link.Index)
		}
	}
	return s
}

// abort closes a socket with RST, so that no port stays in TIME_WAIT.
func abort(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// write and read wrap send(2) and recv(2). They do not block: nothing to be done is no
// error, and ok is false.
func write(fd int, b []byte) (n int, ok bool, err error) { return transfer(unix.SYS_SENDTO, fd, b) }
func read(fd int, b []byte) (n int, ok bool, err error)  { return transfer(unix.SYS_RECVFROM, fd, b) }

// transfer makes the call without telling Go's scheduler, as it does not block. b must
// not be empty.
func transfer(call uintptr, fd int, b []byte) (int, bool, error) {
	for {
		n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), true, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, false, nil
		default:
			return 0, false, errno
		}
	}
}

// spareDescriptors is what a process has open besides the connections.
const spareDescriptors = 100

// freeDescriptors returns how many connections the limit of open files allows a process
// of so many loops, getrlimit(2). Go has raised the soft limit to the hard one, see
// package os.
func freeDescriptors(loops int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return int(min(limit.Cur, 1<<30)) - spareDescriptors - 2*loops, nil
}
