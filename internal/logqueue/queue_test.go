package logqueue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/logtest"
	"github.com/crier-ws/crier/internal/term"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// patience is how long a test waits for an event.
const patience = 20 * time.Second

// output is a log that a test can stop and break.
type output struct {
	logtest.Buffer
	mu    sync.Mutex // Held by a test that stops the output.
	fault error      // Guarded by mu: the error of Write.
	takes int        // Guarded by mu: bytes that Write accepts before the error.
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault == nil {
		return o.Buffer.Write(p)
	}
	n, _ := o.Buffer.Write(p[:min(o.takes, len(p))])
	return n, o.fault
}

func (o *output) fail(err error, after int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault, o.takes = err, after
}

func flush(t *testing.T, q *Queue) {
	t.Helper()
	if !q.Flush(patience) {
		t.Fatal("the lines are not written")
	}
}

func start(t *testing.T, out io.Writer) *Queue {
	q := New(out)
	t.Cleanup(func() {
		if !q.Close(patience) {
			t.Error("the writer does not end")
		}
	})
	return q
}

// TestOrder checks that all lines arrive once and in order.
func TestOrder(t *testing.T) {
	var out output
	q := start(t, &out)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("got %d, %v, want %d", n, err, len(line))
		}
	}
	flush(t, q)
	if got := out.String(); got != want.String() || q.Dropped() != 0 {
		t.Errorf("got %d bytes and %d dropped, want all %d", len(got), q.Dropped(), want.Len())
	}
}

// TestStuckOutput checks that Write does not block while the output does, that the queue is bounded, and that one
// notice replaces the dropped lines when the output continues.
func TestStuckOutput(t *testing.T) {
	var out output
	q := start(t, &out)
	q.SetNotice(func(lines uint64) []byte { return fmt.Appendf(nil, "%d missing\n", lines) })
	out.mu.Lock()
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const lines = 1000
	for range lines {
		_, _ = q.Write(line)
	}
	if q.Flush(time.Millisecond) {
		t.Error("Flush: got true while nothing is written")
	}
	kept := maxBytes / (len(line) + lineBytes)
	if got := q.Dropped(); got != uint64(lines-kept) {
		t.Errorf("dropped: got %d, want %d", got, lines-kept)
	}
	out.mu.Unlock()
	notice := fmt.Sprintf("%d missing\n", lines-kept)
	out.Await(t, notice) // The notice needs no further line.
	_, _ = q.Write([]byte("after\n"))
	flush(t, q)
	if got, want := out.String(), strings.Repeat(string(line), kept)+notice+"after\n"; got != want {
		t.Errorf("got %d bytes that end with %q, want %d", len(got), got[max(0, len(got)-60):], len(want))
	}
}

// TestLineTooLarge checks that a line larger than the queue is dropped, and only that line.
func TestLineTooLarge(t *testing.T) {
	var out output
	q := start(t, &out)
	_, _ = q.Write(make([]byte, maxBytes))
	_, _ = q.Write([]byte("small\n"))
	flush(t, q)
	if got := out.String(); !strings.HasPrefix(got, "1 lines could not be written") ||
		!strings.HasSuffix(got, "\nsmall\n") {
		t.Errorf("got %q", got)
	}
}

// TestFailingOutput checks that lines that fail are counted, and that the log continues after the errors.
func TestFailingOutput(t *testing.T) {
	for _, fault := range []error{unix.ENOSPC, unix.EPIPE, unix.EIO, errors.New("another")} {
		for _, takes := range []int{0, 3} {
			var out output
			q := start(t, &out)
			q.SetNotice(func(lines uint64) []byte { return fmt.Appendf(nil, "%d missing\n", lines) })
			out.fail(fault, takes)
			for range 3 {
				_, _ = q.Write([]byte("lost line\n"))
			}
			flush(t, q)
			if q.Dropped() != 3 {
				t.Errorf("%v: got %d dropped, want 3", fault, q.Dropped())
			}
			broken := out.String()
			out.fail(nil, 0)
			_, _ = q.Write([]byte("here again\n"))
			flush(t, q)
			want := "3 missing\nhere again\n"
			if takes > 0 { // A partial line ends before the next line.
				want = "\n" + want
			}
			if got := strings.TrimPrefix(out.String(), broken); got != want {
				t.Errorf("%v after %d bytes: got %q, want %q", fault, takes, got, want)
			}
		}
	}
}

// TestNonBlockingPipe checks that a pipe that another process made non-blocking loses no line.
func TestNonBlockingPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := int(w.Fd()) // Go treats the pipe as blocking after this call.
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	q := New(w)
	line := strings.Repeat("x", 999) + "\n"
	const lines = 100
	for range lines {
		_, _ = q.Write([]byte(line))
	}
	read := make(chan string, 1)
	go func() { // Ends when w is closed.
		all, _ := io.ReadAll(r)
		read <- string(all)
	}()
	if !q.Close(patience) {
		t.Fatal("the lines are not written")
	}
	w.Close()
	if got := <-read; got != strings.Repeat(line, lines) || q.Dropped() != 0 {
		t.Errorf("got %d bytes and %d dropped, want %d and none", len(got), q.Dropped(), lines*len(line))
	}
}

// TestClose checks that Close writes queued lines, and that later lines are dropped.
func TestClose(t *testing.T) {
	var out output
	q := New(&out)
	_, _ = q.Write([]byte("last\n"))
	if !q.Close(patience) || out.String() != "last\n" {
		t.Errorf("got %q", out.String())
	}
	_, _ = q.Write([]byte("too late\n"))
	if !q.Flush(patience) || !q.Close(patience) || out.String() != "last\n" || q.Dropped() != 1 {
		t.Errorf("got %q and %d dropped", out.String(), q.Dropped())
	}
}

// TestConcurrent checks that lines of several goroutines do not mix.
func TestConcurrent(t *testing.T) {
	var out output
	q := start(t, &out)
	var writers sync.WaitGroup
	for g := range 4 {
		writers.Go(func() {
			for i := range 200 {
				fmt.Fprintf(q, "%d %d\n", g, i)
			}
		})
	}
	writers.Wait()
	flush(t, q)
	var next [4]int
	for line := range strings.Lines(out.String()) {
		var g, i int
		if n, err := fmt.Sscanf(line, "%d %d\n", &g, &i); n != 2 || err != nil || next[g] != i {
			t.Fatalf("got %q, want line %v of its goroutine", line, next)
		}
		next[g]++
	}
	if next != [4]int{200, 200, 200, 200} {
		t.Errorf("got %v lines", next)
	}
}

// TestTerminal checks that a Queue is not a terminal if its output is not.
func TestTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, out := range []io.Writer{w, new(output)} {
		if q := start(t, out); term.IsTerminal(q) {
			t.Errorf("%T is taken for a terminal", out)
		}
	}
}
