package framelog

import (
	"bytes"
	"testing"
	"time"
)

// add appends frames of a size, each offered at once if r is given.
func add(l *Log, r *reader, frames, size int) {
	for i := range frames {
		h, p := testFrame(size, byte(i))
		l.Append(h, p)
		if r != nil {
			r.Offered(l.Head())
		}
	}
}

func tail(l *Log) uint64 {
	var v View
	l.Load(&v)
	defer v.Reset()
	return v.Tail
}

// TestSpaceEvictsTheOldest: logs that share a space give way in the order in which their
// segments were begun, a quiet log's only segment too.
func TestSpaceEvictsTheOldest(t *testing.T) {
	const limit = 1 << 20
	cfg := &Config{Retain: 8 * limit, FrameLen: testLen, Space: NewSpace(limit, 0)}
	var quiet, loud, slow Log
	for _, l := range []*Log{&quiet, &slow, &loud} {
		l.Init(cfg, 0, 0)
	}
	slowReader, loudReader := slow.attach(), loud.attach()
	add(&quiet, nil, 1, 100)
	add(&slow, nil, 1, 100)
	add(&loud, loudReader, 600, 1000)
	if quiet.Empty() || tail(&loud) != 0 {
		t.Fatalf("dropped below the limit: %d bytes held", cfg.Space.Bytes())
	}
	add(&loud, loudReader, 5000, 1000)
	if !quiet.Empty() {
		t.Error("the quiet log still holds what was begun first")
	}
	if tail(&slow) != 0 || slow.Empty() {
		t.Error("what was not offered was dropped")
	}
	if tail(&loud) == 0 {
		t.Error("the loud log has dropped nothing")
	}
	if got := cfg.Space.Bytes(); got > limit+maxSegment+segmentOverhead {
		t.Errorf("held: %d bytes, want at most the limit and a segment", got)
	}
	slowReader.Offered(slow.Head())
	add(&loud, loudReader, 1000, 1000)
	if !slow.Empty() {
		t.Error("what was offered since is still held")
	}
	// A log that was emptied continues at its old offsets.
	add(&quiet, nil, 1, 50)
	var v View
	quiet.Load(&v)
	if v.Tail != 100 || v.Head != 150 || v.First != 1 || v.Frames != 2 {
		t.Errorf("after it was emptied: got tail %d, head %d, frames %d to %d, want 100, 150, 1, 2", v.Tail, v.Head, v.First, v.Frames)
	}
	v.Reset()
	for _, l := range []*Log{&quiet, &slow, &loud} {
		l.Clear()
	}
	if got := cfg.Space.Bytes(); got != 0 {
		t.Errorf("held when all logs are clear: got %d bytes, want 0", got)
	}
}

// TestEvictedView: evicted bytes stay readable through a View that has them.
func TestEvictedView(t *testing.T) {
	cfg := &Config{Retain: 1 << 20, FrameLen: testLen, Space: NewSpace(1, 0)}
	var l Log
	l.Init(cfg, 1000, 7)
	r := l.attach()
	h, p := testFrame(64, 'x')
	l.Append(h, p)
	var v View
	l.Load(&v)
	if v.Tail != 1000 || v.First != 7 || v.Seek(7) != 1000 {
		t.Fatalf("got tail %d, first %d, frame 7 at %d, want 1000, 7, 1000", v.Tail, v.First, v.Seek(7))
	}
	r.Offered(l.Head())
	add(&l, r, 3, maxSegment)
	if now := tail(&l); v.Holds(now) {
		t.Fatalf("tail %d: nothing was evicted", now)
	}
	got := v.Slices(make([][]byte, 0, 4), 1000, 1064)
	if want := append(h, p...); !bytes.Equal(bytes.Join(got, nil), want) {
		t.Error("the view's bytes have changed")
	}
}

// TestExpire: old messages are dropped, in a quiet log and in a busy one, although both are far from full.
func TestExpire(t *testing.T) {
	cfg := &Config{Retain: 1 << 20, FrameLen: testLen, Space: NewSpace(0, 80*time.Second)}
	var quiet, steady, slow Log
	for _, l := range []*Log{&quiet, &steady, &slow} {
		l.Init(cfg, 0, 0)
	}
	slowReader := slow.attach()
	add(&quiet, nil, 1, 10)
	add(&slow, nil, 1, 10)
	for now := time.Duration(1); now <= 200; now++ {
		cfg.Space.Advance(now * time.Second)
		cfg.Space.Expire()
		add(&steady, nil, 1, 10)
		var v View
		steady.Load(&v)
		// A frame each second: those of the last 80 must be there, and few before.
		if held := v.Frames - v.First; held > 80+80/sealings+1 || held < min(uint64(now), 79) {
			t.Fatalf("after %d s: %d frames held", now, held)
		}
		v.Reset()
		if now < 80 && quiet.Empty() {
			t.Fatalf("after %d s: the quiet log is empty", now)
		}
	}
	if !quiet.Empty() {
		t.Error("the quiet log still holds what is old")
	}
	if slow.Empty() {
		t.Error("what was not offered was dropped")
	}
	slowReader.Offered(slow.Head())
	cfg.Space.Advance(201 * time.Second)
	cfg.Space.Expire()
	if !slow.Empty() {
		t.Error("what was offered since is still held")
	}
}

// TestFreeSegmentsAreBounded: what readers that were far behind have needed does not stay beside the limit.
func TestFreeSegmentsAreBounded(t *testing.T) {
	const limit = 4 * maxSegment
	cfg := &Config{Retain: limit, FrameLen: testLen, Space: NewSpace(limit, 0)}
	var l Log
	l.Init(cfg, 0, 0)
	r := l.attach()
	r.Offered(0)
	add(&l, nil, 4*limit/1000, 1000)
	if got := cfg.Space.Taken(); got < 3*limit {
		t.Fatalf("%d bytes taken: the test shows nothing", got)
	}
	l.Clear()
	if got := len(cfg.Space.free) * maxSegment; got == 0 || got > limit {
		t.Errorf("%d bytes are free, want some, and %d at most", got, limit)
	}
}
