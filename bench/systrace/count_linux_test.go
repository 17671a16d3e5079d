package systrace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setFilter installs a seccomp filter on all threads.
func setFilter(prog *unix.SockFprog) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(prog)))
	if errno != 0 {
		panic(errno)
	}
}

// mustCount counts the child's getppid calls during load.
func mustCount(t *testing.T, c *child, load func()) int {
	t.Helper()
	calls, err := Count(c.pid, func() error {
		load()
		return nil
	})
	if err != nil {
		t.Fatalf("Count: %v", err)
	}
	return calls.Of(unix.SYS_GETPPID)
}

// mustWork checks that the child still works and can be counted.
func mustWork(t *testing.T, c *child) {
	t.Helper()
	c.do("work 50")
	if got, want := mustCount(t, c, func() { c.do("work 100") }), 100*workers; got != want {
		t.Errorf("got %d calls after that, want %d", got, want)
	}
	c.do("work 50")
}

func TestCountsEachCallOfEachThread(t *testing.T) {
	for name, test := range map[string]struct {
		command string
		want    int
	}{
		"no call":                  {"work 0", 0},
		"one of each thread":       {"work 1", workers},
		"many of each thread":      {"work 2000", 2000 * workers},
		"threads that end at once": {"create 0", 0},
		"threads created meanwhile": {
			"create 300", 300 * 20},
		"a forked process is not counted": {"fork 500", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := startChild(t)
			c.do("work 77") // Before the count.
			if got := mustCount(t, c, func() { c.do(test.command) }); got != test.want {
				t.Errorf("got %d calls, want %d", got, test.want)
			}
			mustWork(t, c)
		})
	}
}

func TestCountsAgainAndAgain(t *testing.T) {
	c := startChild(t)
	for i := range 10 {
		if got := mustCount(t, c, func() { c.do("work 10") }); got != 10*workers {
			t.Errorf("count %d: got %d calls, want %d", i, got, 10*workers)
		}
	}
}

func TestIdleProcessMakesNoCalls(t *testing.T) {
	c := startChild(t)
	calls, err := Count(c.pid, func() error { return nil })
	if err != nil || calls.Total() != 0 {
		t.Errorf("got %v, %v, want none: the wait that attaching interrupted counts", calls, err)
	}
}

func TestCountsWhileThreadsComeAndGo(t *testing.T) {
	c := startChild(t)
	c.do("churn")
	for range 5 {
		c.say("create 100") // Is underway when Count attaches, or has ended.
		if got := mustCount(t, c, func() { c.expect("create"); c.do("work 500") }); got < 500*workers {
			t.Errorf("got %d calls, want at least %d", got, 500*workers)
		}
	}
}

func TestPreemptingSignalsPass(t *testing.T) {
	c := startChild(t)
	c.do("churn")
	if got := mustCount(t, c, func() { c.do("work 3000") }); got != 3000*workers {
		t.Errorf("got %d calls, want %d", got, 3000*workers)
	}
	mustWork(t, c)
}

func TestEachSignalReachesTheProcess(t *testing.T) {
	c := startChild(t)
	got := mustCount(t, c, func() {
		for range 200 {
			c.kill(unix.SIGUSR1)
			c.expect("usr1")
		}
		c.do("work 100")
	})
	if got != 100*workers {
		t.Errorf("got %d calls, want %d", got, 100*workers)
	}
	c.kill(unix.SIGUSR1)
	c.expect("usr1")
	mustWork(t, c)
}

func TestStoppedAndContinued(t *testing.T) {
	c := startChild(t)
	got := mustCount(t, c, func() {
		for range 5 {
			c.kill(unix.SIGSTOP)
			c.awaitStates("tT")
			c.say("work 100")
			select {
			case line := <-c.lines:
				t.Errorf("the stopped child answers %q", line)
			case <-time.After(20 * time.Millisecond):
			}
			c.kill(unix.SIGCONT)
			c.expect("work")
		}
	})
	if want := 5 * 100 * workers; got != want {
		t.Errorf("got %d calls, want %d", got, want)
	}
	mustWork(t, c)
}

func TestStaysStopped(t *testing.T) {
	for name, test := range map[string]struct{ before, during bool }{
		"stopped before":        {before: true},
		"stopped during":        {during: true},
		"stopped before, again": {before: true, during: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := startChild(t)
			if test.before {
				c.kill(unix.SIGSTOP)
				c.awaitStates("T")
			}
			got := mustCount(t, c, func() {
				if test.during {
					c.kill(unix.SIGSTOP)
					c.awaitStates("tT")
				}
			})
			c.awaitStates("T")
			c.say("work 100")
			c.kill(unix.SIGCONT)
			c.expect("work")
			if got != 0 {
				t.Errorf("got %d calls, want none", got)
			}
			mustWork(t, c)
		})
	}
}

func TestContinuedMeanwhile(t *testing.T) {
	c := startChild(t)
	c.kill(unix.SIGSTOP)
	c.awaitStates("T")
	got := mustCount(t, c, func() {
		c.kill(unix.SIGCONT)
		c.do("work 100")
	})
	if got != 100*workers {
		t.Errorf("got %d calls, want %d", got, 100*workers)
	}
	mustWork(t, c)
}

func TestExecGoesOn(t *testing.T) {
	c := startChild(t)
	got := mustCount(t, c, func() {
		c.do("work 100")
		c.say("exec")
		c.expect("ready")
		c.do("work 200")
	})
	if got != 300*workers {
		t.Errorf("got %d calls, want %d", got, 300*workers)
	}
	mustWork(t, c)
}

func TestProcessEndsMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(c *child)
		want string
	}{
		"exits":  {func(c *child) { c.say("exit 7") }, "exit status 7"},
		"killed": {func(c *child) { c.kill(unix.SIGKILL) }, "signal: killed"},
		"killed at work": {func(c *child) {
			c.say("work 100000")
			c.kill(unix.SIGKILL)
		}, "signal: killed"},
		"killed while stopped": {func(c *child) {
			c.kill(unix.SIGSTOP)
			c.awaitStates("tT")
			c.kill(unix.SIGKILL)
		}, "signal: killed"},
		"terminated": {func(c *child) { c.kill(unix.SIGTERM) }, "signal: terminated"},
	} {
		t.Run(name, func(t *testing.T) {
			c := startChild(t)
			fault := errors.New("connection reset")
			calls, err := Count(c.pid, func() error {
				test.end(c)
				c.awaitEnd()
				return fault
			})
			if !errors.Is(err, ErrEnded) || !errors.Is(err, fault) || calls != nil {
				t.Fatalf("got %v, %v, want ErrEnded and the load's error", calls, err)
			}
			if err := c.cmd.Wait(); err == nil || err.Error() != test.want {
				t.Errorf("Wait: got %v, want %s", err, test.want)
			}
		})
	}
}

func TestProcessEndedBefore(t *testing.T) {
	c := startChild(t)
	c.kill(unix.SIGKILL)
	c.awaitEnd()
	for _, state := range []string{"zombie", "reaped"} {
		_, err := Count(c.pid, func() error { t.Error("the load ran"); return nil })
		if !errors.Is(err, ErrEnded) {
			t.Errorf("%s: got %v, want ErrEnded", state, err)
		}
		_ = c.cmd.Wait()
	}
}

func TestLoadFails(t *testing.T) {
	fault := errors.New("no connection")
	for name, load := range map[string]func() error{
		"error":  func() error { return fault },
		"panic":  func() error { panic(fault) },
		"goexit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := startChild(t)
			var calls Calls
			var err error
			var group sync.WaitGroup
			group.Go(func() {
				defer func() {
					if v := recover(); v != nil {
						err = v.(error)
					}
				}()
				err = fault // Goexit leaves it.
				calls, err = Count(c.pid, load)
			})
			group.Wait()
			if err != fault && !errors.Is(err, fault) || calls != nil {
				t.Errorf("got %v, %v, want the load's error", calls, err)
			}
			if got := status(c.pid, "TracerPid"); got != "0" {
				t.Errorf("got tracer %s, want none", got)
			}
			mustWork(t, c)
		})
	}
}

func TestOtherChildrenAreLeftToTheirParent(t *testing.T) {
	c := startChild(t)
	got := mustCount(t, c, func() {
		for range 10 {
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					err := exec.Command("sh", "-c", "exit 3").Run()
					if err == nil || err.Error() != "exit status 3" {
						t.Errorf("another child: got %v, want exit status 3", err)
					}
				})
			}
			c.do("work 50")
			group.Wait()
		}
	})
	if got != 10*50*workers {
		t.Errorf("got %d calls, want %d", got, 10*50*workers)
	}
}

func TestTwoProcessesAtOnce(t *testing.T) {
	a, b := startChild(t), startChild(t)
	var inner int
	outer := mustCount(t, a, func() {
		a.do("work 10")
		inner = mustCount(t, b, func() {
			a.do("work 20")
			b.do("work 40")
		})
	})
	if outer != 30*workers || inner != 40*workers {
		t.Errorf("got %d and %d calls, want %d and %d", outer, inner, 30*workers, 40*workers)
	}
	mustWork(t, a)
	mustWork(t, b)
}

func TestRefused(t *testing.T) {
	refused := func(t *testing.T, pid int, reason string) {
		t.Helper()
		_, err := Count(pid, func() error { t.Error("the load ran"); return nil })
		if !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), reason) {
			t.Errorf("got %v, want ErrNotPermitted with %q", err, reason)
		}
	}
	t.Run("this process", func(t *testing.T) {
		refused(t, os.Getpid(), "of this process")
	})
	t.Run("traced already", func(t *testing.T) {
		c := startChild(t)
		mustCount(t, c, func() {
			refused(t, c.pid, fmt.Sprintf("thread %d is traced by thread ", c.pid))
		})
		mustWork(t, c)
	})
	t.Run("by seccomp", func(t *testing.T) {
		a, b := startChild(t), startChild(t)
		a.do("filter")
		a.say(fmt.Sprint("count ", b.pid))
		got := a.answer()
		if !strings.HasPrefix(got, ErrNotPermitted.Error()) || !strings.HasSuffix(got, "a seccomp filter is on this process") {
			t.Errorf("got %q, want ErrNotPermitted for a seccomp filter", got)
		}
		mustWork(t, b)
	})
}

func TestPendingWaitIsSeen(t *testing.T) {
	c := startChild(t)
	ended := make(chan error, 1)
	// Ends as the child is killed below, which awaits it.
	go func() { ended <- c.cmd.Wait() }()
	deadline := time.Now().Add(10 * time.Second)
	for unawaited(c.pid) == nil {
		if time.Now().After(deadline) {
			t.Fatal("the pending wait is not seen")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := Count(c.pid, func() error { return nil }); !errors.Is(err, ErrAwaited) {
		t.Errorf("got %v, want ErrAwaited", err)
	}
	c.do("work 1")
	c.kill(unix.SIGKILL)
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("Wait: got %v, want signal: killed", err)
	}
}

func TestAwaitEndMayBePending(t *testing.T) {
	c := startChild(t)
	ended := make(chan error, 1)
	// Ends as the child is killed below, which awaits it.
	go func() { ended <- AwaitEnd(c.pid) }()
	mustWork(t, c)
	select {
	case err := <-ended:
		t.Errorf("AwaitEnd returned %v while the process lives", err)
	default:
	}
	c.kill(unix.SIGKILL)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := c.cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("Wait: got %v, want signal: killed", err)
	}
	if err := AwaitEnd(c.pid); err != nil {
		t.Errorf("reaped: %v", err)
	}
}

func TestNoSentinel(t *testing.T) {
	c := startChild(t)
	t.Run("not found", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := Count(c.pid, func() error { t.Error("the load ran"); return nil })
		if !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		calls, err := Count(c.pid, func() error {
			killSentinel(t)
			deadline := time.Now().Add(10 * time.Second)
			for status(c.pid, "TracerPid") != "0" && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			c.do("work 10")
			return nil
		})
		if calls != nil || err == nil || !strings.Contains(err.Error(), "sentinel: signal: killed") {
			t.Errorf("got %v, %v, want an error, as calls may be missed", calls, err)
		}
	})
	mustWork(t, c)
}

// killSentinel kills the only child of this process that is called cat.
func killSentinel(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || status(pid, "PPid") != strconv.Itoa(os.Getpid()) {
			continue
		}
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(name) != "cat\n" {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
		return
	}
	t.Error("no sentinel found")
}
