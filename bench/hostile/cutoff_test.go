package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"golang.org/x/sys/unix"
)

// netnsEnv is set in a re-executed test that has a network namespace of its own.
const netnsEnv = "CRIER_HOSTILE_NETNS"

// TestCutOff checks that the server closes clients whose network is cut, without FIN or RST, and that the others
// receive every message. It needs a network namespace in a process of its own, and ip(8).
func TestCutOff(t *testing.T) {
	if os.Getenv(netnsEnv) != "" {
		cutOff(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCutOff$", "-test.v")
	cmd.Env = append(os.Environ(), netnsEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	_, err := exec.LookPath("ip")
	var out []byte
	if err == nil {
		out, err = cmd.CombinedOutput()
	}
	missing := errors.Is(err, exec.ErrNotFound) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC)
	if missing && os.Getenv("CI") == "" {
		t.Skipf("NOT TESTED: a network namespace and ip(8) are needed: %v", err)
	}
	if err != nil {
		t.Errorf("with a network of its own: %v", err)
	}
	t.Logf("\n%s", out)
}

func cutOff(t *testing.T) {
	const (
		near, far   = "10.77.0.1", "10.77.0.2"
		cut, silent = 30, 10 // Open connections, and those that have sent nothing.
	)
	elsewhere := newNetwork(t)
	lines := func(lines ...string) {
		t.Helper()
		if err := ip(lines...); err != nil {
			t.Fatal(err)
		}
	}
	lines("link set lo up", fmt.Sprintf("link add near type veth peer name far netns %d", elsewhere.tid),
		"addr add "+near+"/24 dev near", "link set near up")
	srv, addr := serve(t, "0.0.0.0:0", broadcast.Config{
		PingInterval: 2 * time.Second, PingTimeout: 2 * time.Second, HandshakeTimeout: 4 * time.Second,
	})
	s := gather(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port()))
	// A socket belongs to the network namespace of the thread that creates it.
	err := elsewhere.do(func() error {
		if err := ip("addr add "+far+"/24 dev far", "link set far up"); err != nil {
			return err
		}
		for i := range cut + silent {
			conn, err := net.Dial("tcp4", net.JoinHostPort(near, fmt.Sprint(addr.Port())))
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = conn.Close() })
			c := client{Conn: conn, br: bufio.NewReader(conn)}
			if i < cut {
				if end, ok := c.open(); !ok {
					return fmt.Errorf("no connection: %s", end)
				}
			}
		}
		return ip("link set far down")
	})
	if err != nil {
		t.Fatal(err)
	}
	if st := srv.Stats(); st.Upgraded != healthy+cut { // On a slow machine some may have ended by now.
		t.Fatalf("%d were open, want %d", st.Upgraded, healthy+cut)
	}
	s.send(messages)
	s.check()
	st := s.alone(srv)
	t.Logf("disconnects %v, handshakes timed out %d", st.Disconnects, st.HandshakeTimeouts)
	if st.Disconnects["ping-timeout"] != cut || st.HandshakeTimeouts != silent {
		t.Errorf("disconnects %v and %d handshakes timed out, want %d for ping-timeout and %d",
			st.Disconnects, st.HandshakeTimeouts, cut, silent)
	}
}

// ip runs ip(8) for each line, in the network namespace of the calling thread.
func ip(lines ...string) error {
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// network is a network namespace with a thread in it.
type network struct {
	tid   int // The ID of the thread.
	calls chan func() error
	done  chan error
}

// newNetwork creates a network namespace, which ends with the test.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{calls: make(chan func() error), done: make(chan error)}
	go func() { // Ends when calls is closed.
		runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
		for call := range n.calls {
			n.done <- call()
		}
		close(n.done)
	}()
	t.Cleanup(func() {
		close(n.calls)
		<-n.done
	})
	err := n.do(func() error {
		n.tid = unix.Gettid()
		return os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// do runs call on the thread of the network namespace, and returns its error.
func (n *network) do(call func() error) error {
	n.calls <- call
	return <-n.done
}
