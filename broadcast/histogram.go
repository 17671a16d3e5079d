package broadcast

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// histogramBounds are the upper bounds of a Histogram's buckets: 1, 2 and 5 times each power of ten from 10 us to 50
// s.
var histogramBounds = func() (bounds []time.Duration) {
	for unit := 10 * time.Microsecond; unit <= 10*time.Second; unit *= 10 {
		bounds = append(bounds, unit, 2*unit, 5*unit)
	}
	return bounds
}()

// Histogram counts durations in buckets.
type Histogram struct {
	Bounds []time.Duration // The upper bounds of the buckets, inclusive. Shared: callers must not change them.
	Counts []uint64        // By bucket; the last bucket, beyond all bounds, has no upper bound.
	Sum    time.Duration   // Of all durations.
}

// Quantile returns the quantile q, which is above 0 and at most 1, as the function histogram_quantile of Prometheus
// computes it: the durations of a bucket are taken to be spread evenly over it, and the first bucket to begin at 0. A
// quantile in the last bucket is the largest bound. Quantile returns 0 if nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	rank := q * float64(total)
	from, below := time.Duration(0), uint64(0)
	for i, bound := range h.Bounds {
		n := h.Counts[i]
		if n > 0 && float64(below+n) >= rank {
			return from + time.Duration(math.Round(float64(bound-from)*(rank-float64(below))/float64(n)))
		}
		from, below = bound, below+n
	}
	if total == 0 {
		return 0
	}
	return from
}

// Sub returns what was counted since an earlier snapshot of the same histogram.
func (h Histogram) Sub(earlier Histogram) Histogram {
	counts := slices.Clone(h.Counts)
	for i := range earlier.Counts {
		counts[i] -= earlier.Counts[i]
	}
	return Histogram{h.Bounds, counts, h.Sum - earlier.Sum}
}

// histogram counts durations without a lock. Atomic: written and read by any goroutine.
type histogram struct {
	counts [22]atomic.Uint64 // One more than histogramBounds.
	sum    atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	i, _ := slices.BinarySearch(histogramBounds, d)
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) snapshot() Histogram {
	counts := make([]uint64, len(h.counts))
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
	}
	return Histogram{histogramBounds, counts, time.Duration(h.sum.Load())}
}
