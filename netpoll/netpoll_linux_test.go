package netpoll

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/leaktest"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

func openPoller(t testing.TB, loops int) *Poller {
	t.Helper()
	p, err := Open(Config{Loops: loops})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return p
}

func socketpair(t testing.TB) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func closed(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == unix.EBADF
}

func TestReadableAndHangup(t *testing.T) {
	p := openPoller(t, 2)
	a, b := socketpair(t)
	var seen atomic.Uint32
	if err := p.Add(a, Readable|Writable|ReadHangup|EdgeTriggered, func(ev Events) { seen.Or(uint32(ev)) }); err != nil {
		t.Fatal(err)
	}
	criertest.Eventually(t, "writable", func() bool { return Events(seen.Load())&Writable != 0 })
	if _, err := unix.Write(b, []byte("x")); err != nil {
		t.Fatal(err)
	}
	criertest.Eventually(t, "readable", func() bool { return Events(seen.Load())&Readable != 0 })
	unix.Close(b)
	criertest.Eventually(t, "hangup", func() bool { return Events(seen.Load())&ReadHangup != 0 })
	if err := p.Del(a); err != nil {
		t.Fatal(err)
	}
	criertest.Eventually(t, "close of the fd", func() bool { return closed(a) })
}

func TestAddErrors(t *testing.T) {
	p := openPoller(t, 1)
	a, b := socketpair(t)
	defer unix.Close(b)
	if err := p.Add(a, Readable, func(Events) {}); err != nil {
		t.Fatal(err)
	}
	if err := p.Add(a, Readable, func(Events) {}); !errors.Is(err, ErrRegistered) {
		t.Errorf("second Add: got %v, want %v", err, ErrRegistered)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())
	if err := p.Add(fd, Readable, func(Events) {}); !errors.Is(err, unix.EPERM) {
		t.Errorf("Add of a regular file: got %v, want EPERM", err)
	}
	// The failed Add has left nothing behind, and the fd is still ours.
	if err := p.Del(fd); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("Del after failed Add: got %v, want %v", err, ErrNotRegistered)
	}
	if closed(fd) {
		t.Error("failed Add closed the caller's fd")
	}
	if err := p.Del(a); err != nil {
		t.Fatal(err)
	}
	if err := p.Del(a); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("second Del: got %v, want %v", err, ErrNotRegistered)
	}
}

func TestOpenOutOfFDs(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	before := leaktest.FDs()
	// Room for none, one, ... fds: each step of newLoop fails in turn.
	for room := range 6 {
		low := unix.Rlimit{Cur: uint64(before + room), Max: old.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Config{Loops: 4})
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("room for %d fds: got %v, want EMFILE", room, err)
		}
		if got := leaktest.FDs(); got != before {
			t.Fatalf("room for %d fds: %d fds open after the failure, want %d", room, got, before)
		}
	}
}

func TestNotInherited(t *testing.T) {
	list := func() string {
		out, err := exec.Command("ls", "/proc/self/fd").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	want := list()
	openPoller(t, 3)
	if got := list(); got != want {
		t.Errorf("a child has the fds %q, want %q as without a poller", got, want)
	}
}

func TestCloseTellsStandingRegistrations(t *testing.T) {
	p := openPoller(t, 2)
	a, b := socketpair(t)
	defer unix.Close(b)
	var told atomic.Int32
	if err := p.Add(a, Readable, func(ev Events) {
		if ev == Closed {
			told.Add(1)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := told.Load(); got != 1 {
		t.Errorf("told Closed %d times, want 1", got)
	}
	if err := p.Add(a, Readable, func(Events) {}); !errors.Is(err, ErrClosed) {
		t.Errorf("Add after Close: got %v, want %v", err, ErrClosed)
	}
	if err := p.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: got %v, want %v", err, ErrClosed)
	}
	if err := p.Del(a); err != nil || !closed(a) {
		t.Errorf("Del after Close: err %v, closed %v, want nil, true", err, closed(a))
	}
}

// TestCloseWhileCallbacksRun closes the poller under fire: callbacks run,
// delete themselves and are added at the same time.
func TestCloseWhileCallbacksRun(t *testing.T) {
	for range 50 {
		p := openPoller(t, 2)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					a, b := socketpair(t)
					unix.Close(b) // Hangup: an event comes at once.
					if err := p.Add(a, Readable|EdgeTriggered, func(Events) { _ = p.Del(a) }); err != nil {
						unix.Close(a)
						return
					}
				}
			})
		}
		time.Sleep(time.Millisecond) // Lets the storm get under way; nothing depends on how far.
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}

// TestStormOfReusedFDs registers, deletes and reuses fd numbers as fast as it
// can while events arrive. Every registration has a token of its own that the
// peer writes; an event for a registration that never got its token, or that
// was delivered to one whose socket is quiet, is an event gone astray.
func TestStormOfReusedFDs(t *testing.T) {
	p := openPoller(t, 2)
	const rounds = 3000
	var wg sync.WaitGroup
	var stray, delivered atomic.Int64
	for range 4 {
		wg.Go(func() {
			for i := range rounds {
				a, b := socketpair(t)
				r := &storm{fd: a, noisy: i%2 == 0}
				r.cb = func(Events) {
					delivered.Add(1)
					if !r.noisy {
						stray.Add(1)
					}
				}
				if err := p.Add(a, Readable|EdgeTriggered, r.cb); err != nil {
					t.Error(err)
					return
				}
				if r.noisy {
					if _, err := unix.Write(b, []byte("x")); err != nil {
						t.Error(err)
					}
				}
				if rand.IntN(4) == 0 {
					runtime.Gosched()
				}
				// The quiet one's peer stays open until its own end is gone, so
				// that it never has an event of its own.
				if err := p.Del(a); err != nil {
					t.Error(err)
				}
				if r.noisy {
					unix.Close(b)
					continue
				}
				awaitClosed(a, b)
			}
		})
	}
	wg.Wait()
	if got := stray.Load(); got != 0 {
		t.Errorf("%d events reached a quiet registration, want 0", got)
	}
	if delivered.Load() == 0 {
		t.Error("no event was delivered at all: the test shows nothing")
	}
}

type storm struct {
	fd    int
	noisy bool
	cb    func(Events)
}

// awaitClosed waits until the other end, a, of b is closed, then closes b. The
// number a may be in use again by then, so it looks at b: end of stream.
func awaitClosed(_, b int) {
	var buf [1]byte
	for {
		n, err := unix.Read(b, buf[:])
		if n == 0 && err == nil {
			unix.Close(b)
			return
		}
		runtime.Gosched()
	}
}

func BenchmarkAddDel(b *testing.B) {
	p := openPoller(b, 1)
	cb := func(Events) {}
	b.ReportAllocs()
	for b.Loop() {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Add(fd, Readable|EdgeTriggered, cb); err != nil {
			b.Fatal(err)
		}
		if err := p.Del(fd); err != nil {
			b.Fatal(err)
		}
	}
}
