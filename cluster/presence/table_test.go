package presence

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func newTable(most int) *table { return &table{of: make(map[string]*channel), most: most} }

func newCounted() *counted { return &counted{of: make(map[*channel]count)} }

func TestTable(t *testing.T) {
	x := newTable(1 << 20)
	a, b := newCounted(), newCounted()
	x.set(a, "news", 2, 5, false)
	x.set(b, "news", 3, 1, false)
	x.set(a, "news", 9, 4, false) // Older.
	x.set(b, "sport", 1, 1, false)
	x.set(b, "new/s", 1, 1, false)
	x.set(a, "gone", 0, 1, true)
	x.set(a, "gone", 4, 0, true) // Older than that there are none.
	x.set(a, "never", 0, 1, false)
	counts := func() map[string]uint64 {
		m := make(map[string]uint64)
		for _, name := range x.list("", "") {
			m[name] = x.of[name].conns
		}
		return m
	}
	if got, want := counts(), (map[string]uint64{"new/s": 1, "news": 5, "sport": 1}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := x.list("n", "new/s"); !slices.Equal(got, []string{"news"}) {
		t.Errorf("got %q", got)
	}
	x.sweep(a, 6)
	x.set(b, "sport", 0, 2, false)
	if got, want := counts(), (map[string]uint64{"new/s": 1, "news": 3}); !maps.Equal(got, want) || a.conns != 0 || b.conns != 4 {
		t.Errorf("got %v, %d, %d, want %v", got, a.conns, b.conns, want)
	}
	x.clear(a)
	x.clear(b)
	if x.bytes != 0 || len(x.of) != 0 || b.conns != 0 {
		t.Errorf("%d bytes, %d channels are left", x.bytes, len(x.of))
	}
}

// TestTableBytes: a table takes up no more than it says.
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
			var all []*counted
			for range servers {
				c := newCounted()
				all = append(all, c)
				for i := range channels {
					// A part of a message.
					x.set(c, (fmt.Sprintf("room/%015d", i) + rest)[:20], 1, 1, false)
				}
			}
			took := heap() - before
			t.Logf("%d channels of %d servers: %d bytes a channel, counted %d", channels, servers, took/channels, x.bytes/channels)
			if took > x.bytes*11/10 {
				t.Errorf("%d channels of %d servers take up %d bytes, more than the %d counted", channels, servers, took, x.bytes)
			}
			runtime.KeepAlive(all)
		}
	}
}
