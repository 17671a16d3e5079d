package scale

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"golang.org/x/sys/unix"
)

const greeting = broadcast.DefaultGreeting

// The example of RFC 6455, section 1.3.
const (
	request = "GET /chat HTTP/1.1\r\nHost: scale.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	accepted = "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)

// answered returns how long the answer to request at the start of b is, with the
// greeting, or 0 if it is not whole.
func answered(b []byte) (int, error) {
	const want = "HTTP/1.1 101 "
	if !bytes.HasPrefix(b, []byte(want)[:min(len(b), len(want))]) {
		return 0, fmt.Errorf("the handshake was answered %q", b[:min(len(b), 200)])
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	end += 4
	if !bytes.Contains(b[:end], []byte(accepted)) {
		return 0, fmt.Errorf("no %q in %q", accepted, b[:end])
	}
	op, payload, size, err := cut(b[end:])
	if err == nil && size > 0 && (op != opText || string(payload) != greeting) {
		err = fmt.Errorf("greeting is %q with opcode %d, want %q", payload, op, greeting)
	}
	if err != nil || size == 0 {
		return 0, err
	}
	return end + size, nil
}

// address is the source address of a test's i-th connection. Each is used for
// fewer connections than it has ports, of which those that were just used are
// missing for a minute.
func address(net byte, i int) [4]byte {
	const perAddress = 2000
	return [4]byte{127, net, byte(i / perAddress >> 8), 1 + byte(i/perAddress)}
}

// The second bytes of source addresses, so that clients are told apart in ss(8).
const (
	swarmNet   = 11
	stormNet   = 12
	aloneNet   = 13
	trickleNet = 14
)

// connect makes a non-blocking socket and begins to connect it to a port of
// 127.0.0.1.
func connect(from [4]byte, port, rcvbuf int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	errs := []error{
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: from}),
	}
	if rcvbuf > 0 {
		errs = append(errs, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf))
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err != unix.EINPROGRESS && err != unix.EINTR { // The connection proceeds in both cases, connect(2).
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// reset closes a socket with RST.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// dial connects to a port of 127.0.0.1. All calls of the connection give up
// after patience.
func dial(from [4]byte, port int) (*net.TCPConn, error) {
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: from[:]},
		Timeout:   patience,
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(err, raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			}))
		},
	}
	c, err := d.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(patience))
}

// shake does a complete handshake and returns the bytes after the greeting.
func shake(c net.Conn) (more []byte, err error) {
	if _, err := io.WriteString(c, request); err != nil {
		return nil, err
	}
	var head []byte
	b := make([]byte, 4<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, fmt.Errorf("in the handshake: %w", err)
		}
		head = append(head, b[:n]...)
		if end, err := answered(head); end > 0 || err != nil {
			return head[end:], err
		}
	}
}

// alone is a client that is not part of a swarm.
type alone struct {
	t    *testing.T
	conn *net.TCPConn
	got  *ledger
	sink sink
}

// newAlone makes a client that is greeted. It ends with the test.
func newAlone(t *testing.T, port int) *alone {
	t.Helper()
	conn, err := dial(address(aloneNet, 0), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	a := &alone{t: t, conn: conn, got: newLedger(false)}
	a.sink = scan(a.got)
	more, err := shake(conn)
	if err == nil {
		err = a.sink.take(more)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// publish sends a message and waits until it comes back, so that it is
// published for certain.
func (a *alone) publish(number, size int) {
	a.t.Helper()
	if _, err := a.conn.Write(appendMasked(nil, opText, newMessage(0, number, size))); err != nil {
		a.t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	for a.got.due[0] <= number {
		n, err := a.conn.Read(b)
		if err != nil {
			a.t.Fatalf("message %d did not come back: %v", number, err)
		}
		if err := a.sink.take(b[:n]); err != nil {
			a.t.Fatal(err)
		}
	}
}

// reset ends the connection with RST.
func (a *alone) reset() {
	_ = a.conn.SetLinger(0)
	a.conn.Close()
}
