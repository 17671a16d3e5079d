package broadcast

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestConnSize: 48 bytes is a size class of the allocator; one byte more costs a million connections 16 MB. Neither
// side has room for a pointer back to the Conn.
func TestConnSize(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"receiver", unsafe.Sizeof(receiver{}), 32},
		{"reader", unsafe.Sizeof(reader{}), 16},
		{"Conn", unsafe.Sizeof(Conn{}), 48},
	} {
		if tt.got > tt.want {
			t.Errorf("size of a %s: got %d bytes, want at most %d", tt.name, tt.got, tt.want)
		}
	}
}

// TestReadPhase: the phase changes while other goroutines change flags of the same word, and nothing is lost.
func TestReadPhase(t *testing.T) {
	var r reader
	var flags sync.WaitGroup
	flags.Go(func() { // Ends by itself.
		for range 10_000 {
			if r.set(heard); !r.takeFlag(heard) {
				t.Error("takeFlag: got false for a flag that was set")
				return
			}
		}
	})
	for i := range 10_000 {
		want := readPhase(i) % (readReleased + 1)
		r.setReadPhase(want)
		if got := r.readPhase(); got != want {
			t.Fatalf("phase: got %d, want %d", got, want)
		}
	}
	flags.Wait()
	if r.setReadPhase(readHead); r.state.Load() != 0 {
		t.Errorf("flags afterwards: got %#x, want none", r.state.Load())
	}
}

// TestConnList adds and removes connections at random, and compares the list with a set.
func TestConnList(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var l connList
	var in []*Conn
	for range 2000 {
		if len(in) == 0 || rng.IntN(5) < 3 && len(in) < 30 {
			c := new(Conn)
			if len(in) > 0 && l.holds(c) {
				t.Fatal("holds: got true for one that was never added")
			}
			l.add(c)
			in = append(in, c)
		} else {
			i := rng.IntN(len(in))
			c := in[i]
			in = slices.Delete(in, i, i+1)
			slot, last := int(c.slot), l[len(l)-1]
			moved := l.remove(c)
			switch {
			case c == last && moved != nil:
				t.Fatalf("remove of the last one: got %p moved, want nil", moved)
			case c != last && (moved != last || l[slot] != moved):
				t.Fatalf("remove: got %p moved, want %p at %d", moved, last, slot)
			case l.holds(c):
				t.Fatal("holds: got true after remove")
			}
		}
		if len(l) != len(in) {
			t.Fatalf("length: got %d, want %d", len(l), len(in))
		}
		for _, c := range in {
			if !l.holds(c) || l[c.slot] != c {
				t.Fatalf("holds: got false for one in the list, slot %d", c.slot)
			}
		}
	}
}

func TestConnRemoteAddr(t *testing.T) {
	seen := make(chan netip.AddrPort, 1)
	cfg := Config{OnConnect: func(c *Conn, _ *http.Request) error { seen <- c.RemoteAddr(); return nil }}
	listen := func(t *testing.T, network, address string) net.Listener {
		t.Helper()
		ln, err := net.Listen(network, address)
		if err != nil && network == "tcp6" && os.Getenv("CI") == "" {
			t.Skipf("NOT TESTED: this machine has no IPv6: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	tests := []struct{ name, network, address string }{
		{"IPv4", "tcp4", "127.0.0.1:0"},
		{"IPv6", "tcp6", "[::1]:0"},
		{"Unix", "unix", filepath.Join(t.TempDir(), "s")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, _ := newServer(t, cfg)
			ln := listen(t, tt.network, tt.address)
			served := make(chan error, 1)
			go func() { served <- srv.Serve(ln) }() // Stopped by the cleanup of newServer.
			conn, err := net.Dial(tt.network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(handshakeHead)); err != nil {
				t.Fatal(err)
			}
			var want netip.AddrPort
			if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
				want = a.AddrPort()
			}
			if got := <-seen; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// sendFaults is the kernel, except that send fails for one fd.
type sendFaults struct {
	kernel
	fd atomic.Int64
}

func (f *sendFaults) send(fd int, pieces [][]byte) (int, unix.Errno) {
	if int64(fd) == f.fd.Load() {
		return 0, unix.ECONNRESET
	}
	return f.kernel.send(fd, pieces)
}

// TestConnEndsWhileRead: a connection that the shard ends while a worker reads it keeps its fd until the worker's
// turn is over, and ends once.
func TestConnEndsWhileRead(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprintf("OnDisconnect=%t", told), func(t *testing.T) {
			reading, gate := make(chan *Conn), make(chan struct{})
			ended := make(chan Reason, 2)
			var f sendFaults
			cfg := Config{sockets: &f, OnMessage: func(c *Conn, _ Message) (Message, bool) {
				reading <- c
				<-gate
				return Message{}, false
			}}
			if told {
				cfg.OnDisconnect = func(_ *Conn, why Reason) { ended <- why }
			}
			srv, addr := newServer(t, cfg)
			dial(t, addr).sendText("read me")
			c := <-reading
			f.fd.Store(int64(c.fd))
			if err := srv.Publish(t.Context(), Message{Text, []byte("not to be sent")}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the shard to end it", func() bool { return srv.Stats().Disconnects["reset"] == 1 && c.has(closed) })
			// Were it closed before its time, the loop would do so at once.
			dial(t, addr)
			if _, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0); err != nil || len(ended) > 0 || !c.has(owned) {
				t.Errorf("while it is read: fd %v, %d calls of OnDisconnect, owned %t, want an open fd, 0, true", err, len(ended), c.has(owned))
			}
			close(gate)
			eventually(t, "the fd to be closed", func() bool {
				_, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0)
				return err == unix.EBADF
			})
			if told {
				if got := <-ended; got != ReasonReset {
					t.Errorf("OnDisconnect: got %v, want %v", got, ReasonReset)
				}
			}
			eventually(t, "the turn to be over", srv.queue.quiet)
			if len(ended) > 0 {
				t.Error("OnDisconnect: got a second call")
			}
		})
	}
}

func TestReasonNames(t *testing.T) {
	want := map[Reason]string{
		ReasonPeerClosed: "peer-closed", ReasonPeerGone: "peer-gone", ReasonReset: "reset",
		ReasonProtocolError: "protocol-error", ReasonInvalidPayload: "invalid-payload",
		ReasonTooLarge: "too-large", ReasonSlow: "slow", ReasonPingTimeout: "ping-timeout",
		ReasonShutdown: "shutdown", ReasonInternal: "internal",
		ReasonReceiveOnly: "receive-only", ReasonRate: "rate", ReasonCrowded: "crowded", ReasonDisconnected: "disconnected", ReasonExpired: "expired", ReasonUnordered: "unordered",
		0: "reason(0)", reasons: "reason(17)", 255: "reason(255)",
	}
	if got, want := int(reasons), len(want)-2; got != want {
		t.Errorf("reasons: got %d, want %d", got, want)
	}
	for r, name := range want {
		if got := r.String(); got != name {
			t.Errorf("reason %d: got %q, want %q", r, got, name)
		}
	}
}

func TestReasonFor(t *testing.T) {
	for errno, want := range map[unix.Errno]Reason{
		unix.EPIPE: ReasonPeerGone, unix.ECONNRESET: ReasonReset, unix.ETIMEDOUT: ReasonReset, unix.EHOSTUNREACH: ReasonReset,
	} {
		if got := reasonFor(errno); got != want {
			t.Errorf("%v: got %v, want %v", errno, got, want)
		}
	}
}
