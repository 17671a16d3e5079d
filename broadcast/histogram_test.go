package broadcast

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if n := len(histogramBounds) + 1; n != len(h.counts) {
		t.Fatalf("there are %d buckets, want %d", len(h.counts), n)
	}
	if got := h.snapshot().Quantile(0.5); got != 0 {
		t.Errorf("of nothing: got %v", got)
	}
	for _, d := range []time.Duration{0, 10 * time.Microsecond, 11 * time.Microsecond, time.Millisecond, 50 * time.Second, 51 * time.Second} {
		h.observe(d)
	}
	first := h.snapshot()
	for i, want := range map[int]uint64{0: 2, 1: 1, 6: 1, 20: 1, 21: 1} {
		if first.Counts[i] != want {
			t.Errorf("bucket %d: got %d, want %d", i, first.Counts[i], want)
		}
	}
	if want := 101*time.Second + time.Millisecond + 21*time.Microsecond; first.Sum != want {
		t.Errorf("got sum %v, want %v", first.Sum, want)
	}
	for q, want := range map[float64]time.Duration{0: 10 * time.Microsecond, 0.3: 10 * time.Microsecond, 0.5: 20 * time.Microsecond, 0.6: time.Millisecond, 0.8: 50 * time.Second, 1: 50 * time.Second} {
		if got := first.Quantile(q); got != want {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	h.observe(time.Second)
	if got := h.snapshot().Sub(first); got.Quantile(0) != time.Second || got.Quantile(1) != time.Second || got.Sum != time.Second {
		t.Errorf("since then: got %+v", got)
	}
}
