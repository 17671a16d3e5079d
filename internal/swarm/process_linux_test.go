package swarm

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is what the kernel says.
func monotonic(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return time.Duration(ts.Nano())
}

// No process has more connections than it should, and loops are dealt out so that none
// is left over.
func TestDealing(t *testing.T) {
	for _, tt := range []struct{ conns, per, threads, processes, loops int }{
		{11, 6, 8, 2, 8}, {11, 6, 1, 2, 2}, {10, 4, 7, 3, 6}, {3, 1, 2, 3, 3},
	} {
		processes := (tt.conns + tt.per - 1) / tt.per
		if processes != tt.processes {
			t.Fatalf("%+v: got %d processes", tt, processes)
		}
		seen := map[int]bool{}
		threads := max(1, tt.threads/processes)
		for p := range processes {
			s, err := newLocal(Config{Threads: threads}, p, processes*threads)
			must(t, err)
			var conns int
			for _, m := range s.members {
				l := m.(*thread).loop
				seen[l.id] = true
				conns += l.share(tt.conns)
				if l.of != tt.loops {
					t.Errorf("%+v: got %d loops, want %d", tt, l.of, tt.loops)
				}
			}
			if conns > tt.per {
				t.Errorf("%+v: got %d connections in process %d", tt, conns, p)
			}
			s.Close()
		}
		if len(seen) != tt.loops {
			t.Errorf("%+v: got loops %v", tt, seen)
		}
	}
}

// A child that is killed ends what runs.
func TestChildIsKilled(t *testing.T) {
	for _, victim := range []int{0, 1} {
		cfg, came := silent(t)
		cfg.PerProcess = 3
		s := grown(t, cfg)
		child := processes(s)[victim].cmd.Process
		// Ends once the broadcast is under way.
		go func() {
			<-came
			_ = child.Kill()
		}()
		if err := s.Broadcast(1); err == nil || !strings.Contains(err.Error(), "a child process ended") {
			t.Errorf("got %v, want that a child ended", err)
		}
		// What the other one counted is there.
		stats, err := s.Stats()
		if err == nil || stats == nil || stats.Open != 3 {
			t.Errorf("got %+v, %v, want 3 open and an error", stats, err)
		}
		// It may have been interrupted before it heard of the message.
		if tally, err := s.Tally(0, 6); err == nil || tally.Whole+tally.Lacking != 3 {
			t.Errorf("got %+v, %v, want 3 connections and an error", tally, err)
		}
		if err := s.Rest(time.Hour); err == nil {
			t.Error("later: got no error")
		}
		s.Interrupt()
		s.Close()
	}
}

// All children are killed.
func TestAllChildrenAreKilled(t *testing.T) {
	cfg, _ := silent(t)
	cfg.PerProcess = 3
	s := grown(t, cfg)
	for _, p := range processes(s) {
		must(t, p.cmd.Process.Kill())
	}
	if err := s.Rest(time.Hour); err == nil || !strings.Contains(err.Error(), "child process") {
		t.Errorf("got %v, want that a child ended", err)
	}
	if stats, err := s.Stats(); err == nil || stats != nil {
		t.Errorf("got %+v, %v, want an error", stats, err)
	}
}

// Errors of children are those of loops.
func TestErrorsOfChildren(t *testing.T) {
	target := raw(t, func(_ int, c net.Conn) { untilEnd(c) })
	cfg := config(target, 4)
	cfg.PerProcess, cfg.Patience = 2, 20*time.Millisecond
	s := start(t, cfg)
	if err := s.Grow(4); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "with 0 of 4 connections") {
		t.Errorf("got %v, want %v", err, ErrStuck)
	}

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	cfg.Target = l.Addr().(*net.TCPAddr).AddrPort()
	must(t, l.Close())
	s = start(t, cfg)
	if err := s.Grow(4); err == nil || errors.Is(err, ErrInterrupted) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want connection refused", err)
	}
}

func TestChildThatIsToldNonsense(t *testing.T) {
	var out bytes.Buffer
	for _, in := range []string{"", "nonsense"} {
		if err := child(strings.NewReader(in), &out); err == nil {
			t.Errorf("%q: got no error", in)
		}
	}
	// A role and then nothing: the parent has ended.
	var in bytes.Buffer
	must(t, gob.NewEncoder(&in).Encode(role{Config: Config{Threads: 2, Senders: 1}, First: 1, Of: 4}))
	must(t, child(&in, &out))
}

// parentEnv makes the test binary a program with a swarm in two child processes, for a
// server at the address that it is set to.
const parentEnv = "CRIER_SWARM_TEST_PARENT"

// parent prints the children's ids and rests until it is killed.
func parent() {
	cfg := config(netip.MustParseAddrPort(os.Getenv(parentEnv)), 4)
	cfg.PerProcess = 2
	s, err := New(cfg)
	if err == nil {
		err = s.Grow(4)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, p := range processes(s) {
		fmt.Println(p.cmd.Process.Pid)
	}
	fmt.Println("grown")
	_ = s.Rest(time.Hour)
	os.Exit(1)
}

// Children end with their parent, in whatever way it ends, and their connections do.
func TestNoOrphans(t *testing.T) {
	gone := make(chan struct{}, 10)
	target := fake(t, func(_ int, c net.Conn) {
		untilEnd(c)
		gone <- struct{}{}
	})
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), parentEnv+"="+target.String())
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var children []string
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "grown" {
		children = append(children, lines.Text())
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if len(children) != 2 {
		t.Fatalf("got %q, want two process ids", children)
	}
	for range 4 {
		select {
		case <-gone:
		case <-time.After(patience):
			t.Fatal("the connections of the children stay")
		}
	}
	for _, pid := range children {
		within(t, "ended: "+pid, func() bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || bytes.Contains(stat, []byte(") Z "))
		})
	}
}
