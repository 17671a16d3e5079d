package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreInOrderWithoutGaps(t *testing.T) {
	for i := range 40 << subBits {
		end := uint64(bucketEnd(i))
		if got := bucket(end); got != i {
			t.Fatalf("the end of bucket %d, %d, is in bucket %d", i, end, got)
		}
		if got := bucket(end + 1); got != i+1 {
			t.Fatalf("what follows bucket %d is in bucket %d", i, got)
		}
	}
}

func TestQuantileAgainstSorting(t *testing.T) {
	source := rand.New(rand.NewPCG(3, 4))
	var h histogram
	var all []time.Duration
	for range 10000 {
		d := time.Duration(source.ExpFloat64() * float64(time.Millisecond))
		h.add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)))-1]
		got := h.quantile(q)
		if got < want || float64(got) > float64(want)*1.01 {
			t.Errorf("quantile %v: got %v, want %v or at most a hundredth more", q, got, want)
		}
	}
	if h.max != all[len(all)-1] || h.count != len(all) {
		t.Errorf("got max %v of %d, want %v of %d", h.max, h.count, all[len(all)-1], len(all))
	}
}

func TestHistogramOfNothing(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("got %v, want 0", got)
	}
	h.add(-time.Second)
	if got := h.quantile(1); got != 0 || h.count != 1 {
		t.Errorf("a negative one: got %v of %d, want 0 of 1", got, h.count)
	}
}
