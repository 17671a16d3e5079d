package netpoll

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestYieldLooksWhileSomeoneWaits: with one processor and a goroutine that always wants it, the loop polls again and
// again after one Yield. When the goroutine has ended, the loop stops polling.
func TestYieldLooksWhileSomeoneWaits(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p, err := Open(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l := p.loops[0]
	// The loop never reads its eventfd, so the kernel has counted its wake-ups.
	// See proc_pid_fdinfo(5).
	count := func() (n uint64) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", l.wake))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "eventfd-count:")
		if _, err := fmt.Sscanf(rest, "%x", &n); err != nil {
			t.Fatalf("fdinfo of an eventfd: %q: %v", text, err)
		}
		return n
	}
	// Not this goroutine, which is in a system call at times.
	var enough atomic.Bool
	ended := make(chan struct{})
	go func() { // Ends with enough, and is waited for below.
		defer close(ended)
		for !enough.Load() {
			runtime.Gosched()
		}
	}()
	p.Yield(0)
	for end := time.Now().Add(10 * time.Second); count() < 20 && time.Now().Before(end); {
		runtime.Gosched()
	}
	enough.Store(true)
	<-ended
	if count() < 20 {
		t.Fatalf("the loop looked %d times while a goroutine waited for its processor, want it to go on", count())
	}
	// It sees that nobody waits while this goroutine sleeps.
	for end := time.Now().Add(10 * time.Second); ; {
		before := count()
		time.Sleep(50 * time.Millisecond)
		if count() == before {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the loop still polls although no goroutine waits")
		}
	}
}
