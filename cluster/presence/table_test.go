package presence

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func newTable(maxBytes int) *table {
	return &table{byName: make(map[string]*channel), maxBytes: maxBytes}
}

func newCounts() *serverCounts { return &serverCounts{byChannel: make(map[*channel]count)} }

// TestTable checks sums, and which counts replace others.
func TestTable(t *testing.T) {
	x := newTable(1 << 20)
	a, b := newCounts(), newCounts()
	x.set(a, "news", 2, 5, false)
	x.set(b, "news", 3, 1, false)
	x.set(a, "news", 9, 4, false) // Older.
	x.set(b, "sport", 1, 1, false)
	x.set(b, "new/s", 1, 1, false)
	x.set(a, "gone", 0, 1, true)
	x.set(a, "gone", 4, 0, true) // Older than the count of 0.
	x.set(a, "never", 0, 1, false)
	counts := func() map[string]uint64 {
		m := make(map[string]uint64)
		for _, name := range x.names("", "") {
			m[name] = x.byName[name].conns
		}
		return m
	}
	if got, want := counts(), (map[string]uint64{"new/s": 1, "news": 5, "sport": 1}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := x.names("n", "new/s"); !slices.Equal(got, []string{"news"}) {
		t.Errorf("got names %q, want news only", got)
	}
	x.removeOlder(a, 6)
	x.set(b, "sport", 0, 2, false)
	want := map[string]uint64{"new/s": 1, "news": 3}
	if got := counts(); !maps.Equal(got, want) || a.conns != 0 || b.conns != 4 {
		t.Errorf("got %v with %d and %d connections, want %v with 0 and 4", got, a.conns, b.conns, want)
	}
	x.removeAll(a)
	x.removeAll(b)
	if x.bytes != 0 || len(x.byName) != 0 || b.conns != 0 {
		t.Errorf("got %d bytes and %d channels after all were removed, want none", x.bytes, len(x.byName))
	}
}

// TestTableBytes checks that a table takes up no more memory than it counts.
func TestTableBytes(t *testing.T) {
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	rest := strings.Repeat("x", 500)
	for _, channels := range []int{1000, 30_000, 60_000} {
		for _, servers := range []int{1, 4} {
			before := heap()
			x := newTable(1 << 30)
			var all []*serverCounts
			for range servers {
				c := newCounts()
				all = append(all, c)
				for i := range channels {
					// Names share memory with a message, as when they are received.
					x.set(c, (fmt.Sprintf("room/%015d", i) + rest)[:20], 1, 1, false)
				}
			}
			took := heap() - before
			t.Logf("%d channels of %d servers: %d bytes for each channel, counted %d",
				channels, servers, took/channels, x.bytes/channels)
			if took > x.bytes*11/10 {
				t.Errorf("%d channels of %d servers take up %d bytes, counted %d", channels, servers, took, x.bytes)
			}
			runtime.KeepAlive(all)
		}
	}
}
