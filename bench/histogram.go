package bench

import (
	"math"
	"math/bits"
	"time"
)

// subBits sets how fine a histogram is: 1<<subBits buckets for each power of two, so
// that a bucket's ends differ by less than a hundredth.
const subBits = 7

// histogram counts durations. The zero value is empty.
type histogram struct {
	buckets [(64 - subBits) << subBits]int
	count   int
	max     time.Duration
}

// add counts d; a negative one counts as 0.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(uint64(d))]++
	h.count++
	h.max = max(h.max, d)
}

// quantile returns the least value that at least the share q of all does not exceed,
// rounded up by less than a hundredth. It is 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(h.count)))
	seen := 0
	for i, n := range h.buckets {
		seen += n
		if n > 0 && seen >= rank {
			return min(bucketEnd(i), h.max)
		}
	}
	return 0
}

// bucket returns the index for v: its bits behind the first, as many as subBits, below
// the place of the first. Values under 1<<subBits have a bucket each.
func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// bucketEnd returns the greatest value in a bucket.
func bucketEnd(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	low := (uint64(i)&(1<<subBits-1) + 1<<subBits) << shift
	return time.Duration(low + 1<<shift - 1)
}
