package framelog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func TestSituations(t *testing.T) {
	const retain = 64 << 10
	tests := []struct {
		name  string
		sizes []int
		tail  bool // whether something must have been dropped
	}{
		{"empty", nil, false},
		{"one frame", []int{4}, false},
		{"exact fill of the first segment", []int{4, minSegment - 4}, false},
		{"exact fill, then one more", []int{4, minSegment - 4, 4}, false},
		{"header over a segment's end", []int{4, minSegment - 6, 100}, false},
		{"header begins with the segment's last byte", []int{4, minSegment - 5, 100}, false},
		{"frame over three segments", []int{4, minSegment - 10, 2*minSegment + 50, 4}, false},
		{"frame larger than the retention", []int{10, 3 * retain, 10}, true},
		{"many small frames", slicesOf(5, 60_000), true},
		{"many frames of a mark's width", slicesOf(markEvery, 300), true},
		{"tail in the middle of a frame", slicesOf(100_003, 12), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, ref := newLog(retain), &reference{}
			for i, size := range tt.sizes {
				h, p := testFrame(size, byte(i))
				l.Append(h, p)
				ref.append(h, p)
			}
			var v View
			l.Load(&v)
			check(t, &v, ref)
			if got := v.Tail > 0; got != tt.tail {
				t.Errorf("dropped something: got %v, want %v (tail %d)", got, tt.tail, v.Tail)
			}
			if held := v.Head - v.Tail; tt.tail && held < retain {
				t.Errorf("holds %d bytes, want at least the retention of %d", held, retain)
			}
		})
	}
}

func slicesOf(size, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

func TestLateJoin(t *testing.T) {
	l := newLog(1 << 20)
	h, p := testFrame(100, 'a')
	l.Append(h, p)
	r := l.attach()
	h, p = testFrame(50, 'b')
	if _, got := l.Append(h, p); got != 50 {
		t.Errorf("lag of a reader that joined after 100 bytes: got %d, want 50", got)
	}
	r.Offered(l.Head())
	if got := l.Lag(); got != 0 {
		t.Errorf("lag after all is offered: got %d, want 0", got)
	}
}

func TestNotDroppedBeforeOffered(t *testing.T) {
	const retain = 16 << 10
	l := newLog(retain)
	slow, fast := l.attach(), l.attach()
	h, p := testFrame(1000, 'x')
	for range 1000 {
		l.Append(h, p)
		fast.Offered(l.Head())
	}
	var v View
	l.Load(&v)
	if v.Tail != 0 {
		t.Fatalf("tail %d: dropped what a reader had yet to offer", v.Tail)
	}
	if got, want := l.Lag(), uint64(1_000_000); got != want {
		t.Errorf("lag: got %d, want %d", got, want)
	}
	slow.Offered(l.Head())
	l.Append(h, p)
	l.Load(&v)
	if held := v.Head - v.Tail; held > retain+maxSegment {
		t.Errorf("holds %d bytes once all is offered, want at most %d", held, retain+maxSegment)
	}
	slow.Offered(0)
	slow.detach()
	fast.Offered(l.Head())
	if got := l.Lag(); got != 0 {
		t.Errorf("lag: got %d, want 0: a closed reader still counts", got)
	}
}

// TestViewOutlivesTheLog reads an old view after all it holds was dropped.
func TestViewOutlivesTheLog(t *testing.T) {
	l, ref := newLog(minSegment), &reference{}
	r := l.attach()
	add := func(fill byte) {
		h, p := testFrame(700, fill)
		l.Append(h, p)
		ref.append(h, p)
		r.Offered(l.Head())
	}
	for i := range 5 {
		add(byte(i))
	}
	var old, now View
	l.Load(&old)
	then := *ref
	then.bytes, then.starts = bytes.Clone(ref.bytes), append([]uint64(nil), ref.starts...)
	for i := range 2000 {
		add(byte(i))
	}
	l.Load(&now)
	if now.Holds(old.Head) {
		t.Fatal("nothing was dropped: the test shows nothing")
	}
	check(t, &old, &then)
	check(t, &now, ref)
	old.Reset()
	if old.Head != 0 || len(old.segs) != 0 {
		t.Error("a reset view still holds something")
	}
}

// TestSegmentsAreUsedAgain lets a view hold on to segments that the log drops:
// they must not be used again before the view lets go, and are after that.
func TestSegmentsAreUsedAgain(t *testing.T) {
	l, ref := newLog(maxSegment), &reference{}
	r := l.attach()
	add := func(bytes int) {
		for range bytes / 1000 {
			h, p := testFrame(1000, byte(len(ref.starts)))
			l.Append(h, p)
			ref.append(h, p)
			r.Offered(l.Head())
		}
	}
	add(3 * maxSegment) // Past the small segments of the start.
	var v View
	l.Load(&v)
	then := &reference{bytes: bytes.Clone(ref.bytes), starts: slices.Clone(ref.starts)}
	add(10 * maxSegment)
	check(t, &v, then)
	held := len(v.segs)
	before := len(l.cfg.Space.free)
	v.Reset()
	if got := len(l.cfg.Space.free); got < before+held-1 {
		t.Errorf("free segments after the view let go of %d: got %d, want at least %d", held, got, before+held-1)
	}
	l.Load(&v)
	check(t, &v, ref)
	v.Reset()
	l.cfg.Space.Trim()
	l.cfg.Space.Trim()
	if got := len(l.cfg.Space.free); got != 0 {
		t.Errorf("free segments after two calls of Trim: got %d, want 0", got)
	}
}

func TestAllocs(t *testing.T) {
	l := newLog(1 << 20)
	r := l.attach()
	h, p := testFrame(64, 'x')
	var v View
	pieces := make([][]byte, 0, 8)
	for range 100_000 { // Grow to full segments and a full retention.
		l.Append(h, p)
		r.Offered(l.Head())
	}
	l.Load(&v)
	if got := testing.AllocsPerRun(1000, func() {
		from := l.Head()
		l.Append(h, p)
		l.Load(&v)
		pieces = v.Slices(pieces[:0], from, v.Head)
		v.Boundary(v.Head - 3)
		r.Offered(v.Head)
	}); got != 0 {
		t.Errorf("append, load and slices: %v allocations a frame, want 0", got)
	}
}

// TestConcurrent has readers check every byte while writers append.
func TestConcurrent(t *testing.T) {
	l := newLog(32 << 10)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for id := range 3 {
		r := l.attach()
		readers.Go(func() { follow(t, l, r, id, done) })
	}
	for id := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(id)))
			for range 5000 {
				size := 4 + rng.IntN(600)
				h, p := testFrame(size, byte(size))
				l.Append(h, p)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

// follow reads the log frame by frame until it is at the head after done.
func follow(t *testing.T, l *Log, r *reader, id int, done <-chan struct{}) {
	var v View
	var cursor uint64
	pieces := make([][]byte, 0, 1024)
	for last := false; ; {
		select {
		case <-done:
			last = true
		default:
		}
		l.Load(&v)
		if cursor < v.Tail {
			t.Errorf("reader %d lapped at %d, tail %d", id, cursor, v.Tail)
			return
		}
		all := bytes.Join(v.Slices(pieces[:0], cursor, v.Head), nil)
		for len(all) > 0 {
			n := testLen(all)
			for _, b := range all[4:n] {
				if b != byte(n) {
					t.Errorf("reader %d: frame of %d bytes at %d is torn", id, n, cursor)
					return
				}
			}
			if b := v.Boundary(cursor + 1); b != cursor+uint64(n) {
				t.Errorf("reader %d: boundary after %d: got %d, want %d", id, cursor, b, cursor+uint64(n))
				return
			}
			all, cursor = all[n:], cursor+uint64(n)
		}
		r.Offered(cursor)
		if last {
			return
		}
	}
}

func FuzzAgainstSlice(f *testing.F) {
	f.Add(uint16(10), []byte{0, 1, 2, 3})
	f.Add(uint16(1), []byte{255, 255, 0, 0, 255})
	f.Add(uint16(9999), bytes.Repeat([]byte{200, 7}, 50))
	f.Fuzz(func(t *testing.T, retain uint16, ops []byte) {
		if len(ops) > 100 { // The time of check grows with the square.
			return
		}
		l, ref := newLog(int(retain)), &reference{}
		r := l.attach()
		var v View
		for i, op := range ops {
			size := 4 + int(op&0x7f)*int(op&0x7f)*3 // up to 48 KB
			h, p := testFrame(size, byte(i))
			number, lag := l.Append(h, p)
			if number != uint64(i) {
				t.Fatalf("number: got %d, want %d", number, i)
			}
			ref.append(h, p)
			if want := uint64(len(ref.bytes)) - v.Head; lag != want {
				t.Fatalf("lag: got %d, want %d", lag, want)
			}
			if op&0x80 != 0 {
				l.Load(&v)
				check(t, &v, ref)
				r.Offered(v.Head)
			}
		}
		l.Load(&v)
		check(t, &v, ref)
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			l := newLog(8 << 20)
			r := l.attach()
			h, p := testFrame(size, 'x')
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				l.Append(h, p)
				r.Offered(l.Head())
			}
		})
	}
}
