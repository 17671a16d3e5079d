package framelog

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
)

// Test frames are a 4-byte length, then that many bytes less four.
func testLen(b []byte) int { return int(binary.BigEndian.Uint32(b)) }

func testFrame(size int, fill byte) (header, payload []byte) {
	header = binary.BigEndian.AppendUint32(nil, uint32(size))
	return header, bytes.Repeat([]byte{fill}, size-len(header))
}

// reference is the log as a plain slice that forgets nothing.
type reference struct {
	bytes  []byte
	starts []uint64
}

func (r *reference) append(header, payload []byte) {
	r.starts = append(r.starts, uint64(len(r.bytes)))
	r.bytes = append(append(r.bytes, header...), payload...)
}

// newLog makes a log with a Space of its own.
func newLog(retain int) *Log {
	l := new(Log)
	l.Init(&Config{Retain: retain, FrameLen: testLen, Space: NewSpace(0, 0)}, 0, 0)
	return l
}

// reader is one of several that offer a log, which is to know of the slowest.
type reader struct {
	log *Log
	at  uint64
}

var (
	readersMu sync.Mutex
	readersOf = make(map[*Log]map[*reader]bool)
)

func (l *Log) attach() *reader {
	r := &reader{log: l}
	readersMu.Lock()
	if readersOf[l] == nil {
		readersOf[l] = make(map[*reader]bool)
	}
	readersOf[l][r] = true
	readersMu.Unlock()
	r.Offered(l.Head())
	return r
}

// Offered says up to where r has offered the log.
func (r *reader) Offered(to uint64) {
	readersMu.Lock()
	defer readersMu.Unlock()
	r.at = to
	lowest := uint64(NoReaders)
	for other := range readersOf[r.log] {
		lowest = min(lowest, other.at)
	}
	r.log.Offered(lowest)
}

func (r *reader) detach() {
	readersMu.Lock()
	delete(readersOf[r.log], r)
	readersMu.Unlock()
	r.Offered(0)
}

func (r *reference) boundary(off uint64) uint64 {
	if i, _ := slices.BinarySearch(r.starts, off); i < len(r.starts) {
		return r.starts[i]
	}
	return uint64(len(r.bytes))
}

// check compares what a view of l holds with the reference, at the offsets
// around every frame start and segment end.
func check(t *testing.T, v *View, ref *reference) {
	t.Helper()
	if got, want := v.Head, uint64(len(ref.bytes)); got != want {
		t.Fatalf("head: got %d, want %d", got, want)
	}
	if got, want := v.Frames, uint64(len(ref.starts)); got != want {
		t.Fatalf("frames: got %d, want %d", got, want)
	}
	for n := range ref.starts {
		at := v.Seek(uint64(n))
		if want := ref.boundary(max(ref.starts[n], v.Tail)); at != want {
			t.Fatalf("frame %d (tail %d, first %d): got offset %d, want %d", n, v.Tail, v.First, at, want)
		}
		if at != ref.starts[n] {
			continue
		}
		if got := v.Number(at); got != uint64(n) {
			t.Fatalf("at %d: got frame %d, want %d", at, got, n)
		}
		if cut := *v; n%7 == 0 {
			if cut.Cut(at); cut.Head != at || cut.Frames != uint64(n) || cut.Boundary(at) != at || cut.Seek(uint64(n)) != at {
				t.Fatalf("cut at %d: got head %d, frames %d, want %d", at, cut.Head, cut.Frames, n)
			}
		}
		end := ref.boundary(at + 1)
		if got, next := v.Frame(nil, at); next != end || !bytes.Equal(got, ref.bytes[at:end]) {
			t.Fatalf("frame %d: got %d bytes and the next one at %d, want %d, %d", n, len(got), next, end-at, end)
		}
	}
	if got := v.Seek(v.Frames); got != v.Head {
		t.Fatalf("the next frame: got offset %d, want %d", got, v.Head)
	}
	if n, _ := slices.BinarySearch(ref.starts, v.Tail); v.First != uint64(n) {
		t.Fatalf("first with tail %d: got %d, want %d", v.Tail, v.First, n)
	}
	got := bytes.Join(v.Slices(make([][]byte, 0, len(v.segs)+1), v.Tail, v.Head), nil)
	if !bytes.Equal(got, ref.bytes[v.Tail:]) {
		t.Fatalf("bytes from tail %d to head %d differ", v.Tail, v.Head)
	}
	var offs []uint64
	for _, s := range ref.starts {
		offs = append(offs, s-1, s, s+1, s+5)
	}
	for i, s := range v.segs {
		offs = append(offs, s.base, s.base+1, v.end(i)-1, v.end(i))
	}
	for _, off := range append(offs, v.Head-1, v.Head) {
		if !v.Holds(off) {
			continue
		}
		if got, want := v.Boundary(off), ref.boundary(off); got != want {
			t.Fatalf("boundary of %d (tail %d, head %d): got %d, want %d", off, v.Tail, v.Head, got, want)
		}
	}
}
