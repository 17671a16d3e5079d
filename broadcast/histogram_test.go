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
	h.observe(time.Second)
	if got := h.snapshot().Sub(first); got.Quantile(0.5) != 750*time.Millisecond || got.Quantile(1) != time.Second || got.Sum != time.Second {
		t.Errorf("since then: got %+v", got)
	}
}

// TestQuantile: the wanted values are those of histogram_quantile of Prometheus 2.42.
func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		name               string
		counts             map[int]uint64 // By bucket.
		p50, p90, p99, max time.Duration
	}{
		{"one", map[int]uint64{6: 1}, 750 * time.Microsecond, 950 * time.Microsecond, 995 * time.Microsecond, time.Millisecond},
		{"the first bucket", map[int]uint64{0: 4}, 5 * time.Microsecond, 9 * time.Microsecond, 9900, 10 * time.Microsecond},
		{"two beside each other", map[int]uint64{3: 10, 4: 30}, 133_333, 186_667, 198_667, 200 * time.Microsecond},
		{"a gap", map[int]uint64{1: 5, 9: 5}, 20 * time.Microsecond, 9 * time.Millisecond, 9900 * time.Microsecond, 10 * time.Millisecond},
		{"a long tail", map[int]uint64{4: 900, 5: 80, 6: 15, 12: 4, 20: 1}, 155_556, 200 * time.Microsecond, 833_333, 50 * time.Second},
		{"some above all bounds", map[int]uint64{5: 98, 21: 2}, 353_061, 475_510, 50 * time.Second, 50 * time.Second},
		{"most above all bounds", map[int]uint64{5: 1, 21: 99}, 50 * time.Second, 50 * time.Second, 50 * time.Second, 50 * time.Second},
		{"nothing", nil, 0, 0, 0, 0},
	} {
		h := Histogram{Bounds: histogramBounds, Counts: make([]uint64, len(histogramBounds)+1)}
		for i, n := range tc.counts {
			h.Counts[i] = n
		}
		for q, want := range map[float64]time.Duration{0.5: tc.p50, 0.9: tc.p90, 0.99: tc.p99, 1: tc.max} {
			if got := h.Quantile(q); got != want {
				t.Errorf("%s: quantile %v: got %v, want %v", tc.name, q, got, want)
			}
		}
	}
}
