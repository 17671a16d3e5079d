package broadcast

import (
	"slices"
	"sync/atomic"
	"time"
)

// histogramBounds are the upper bounds of a Histogram's buckets: 1, 2 and 5 times each power of
// ten from 10 us to 50 s.
var histogramBounds = func() (bounds []time.Duration) {
	for unit := 10 * time.Microsecond; unit <= 10*time.Second; unit *= 10 {
		bounds = append(bounds, unit, 2*unit, 5*unit)
	}
	return bounds
}()

// Histogram is how often something took how long.
type Histogram struct {
	Bounds []time.Duration // Up to and with what a bucket counts; not to be changed.
	Counts []uint64        // What took so long and longer than the bound before; the last one is without a bound.
	Sum    time.Duration
}

// Quantile is the bound of the bucket that has a quantile, from 0 to 1; of the last bucket it is the
// largest bound. It is 0 if nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	rank := q * float64(total)
	seen := uint64(0)
	for i, n := range h.Counts {
		if seen += n; n > 0 && float64(seen) >= rank {
			return h.Bounds[min(i, len(h.Bounds)-1)]
		}
	}
	return 0
}

// Sub returns what was counted since an earlier one.
func (h Histogram) Sub(earlier Histogram) Histogram {
	counts := slices.Clone(h.Counts)
	for i := range earlier.Counts {
		counts[i] -= earlier.Counts[i]
	}
	return Histogram{h.Bounds, counts, h.Sum - earlier.Sum}
}

// histogram is one that is counted: by anyone, without a lock.
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
