package swarm

import (
	"bytes"
	"encoding/gob"
	"reflect"
	"testing"
	"time"
)

// filled returns stats in which nothing is zero.
func filled() *Stats {
	s := newStats()
	v := reflect.ValueOf(&s.Counts).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(int64(i + 1))
	}
	s.Latency.record(3*time.Millisecond, 2)
	s.Latency.record(2*longest, 1)
	s.Connect.record(time.Second, 5)
	s.Late.record(-time.Second, 1)
	s.CPU, s.Wall, s.Busy = time.Second, 3*time.Second, 0.3
	s.First, s.Last, s.Error = 5*time.Millisecond, 7*time.Millisecond, "gone"
	return s
}

func TestGob(t *testing.T) {
	tests := []struct {
		name  string
		stats *Stats
	}{
		{"filled", filled()},
		{"empty", newStats()},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		must(t, gob.NewEncoder(&b).Encode(response{Stats: tt.stats}))
		var got response
		must(t, gob.NewDecoder(&b).Decode(&got))
		for _, h := range []struct{ got, want Histogram }{
			{got.Stats.Latency, tt.stats.Latency}, {got.Stats.Connect, tt.stats.Connect}, {got.Stats.Late, tt.stats.Late},
		} {
			if !h.got.Equals(h.want.Histogram) {
				t.Errorf("%s: got another histogram", tt.name)
			}
		}
		a, b2 := *got.Stats, *tt.stats
		a.Latency, a.Connect, a.Late = Histogram{}, Histogram{}, Histogram{}
		b2.Latency, b2.Connect, b2.Late = Histogram{}, Histogram{}, Histogram{}
		if a != b2 {
			t.Errorf("%s: got %+v, want %+v", tt.name, a, b2)
		}
		// What was decoded can be added to.
		got.Stats.add(tt.stats)
		if n, want := got.Stats.Latency.TotalCount(), 2*tt.stats.Latency.TotalCount(); n != want {
			t.Errorf("%s: got %d, want %d", tt.name, n, want)
		}
	}
}

func TestStatsAdd(t *testing.T) {
	sum, other := filled(), filled()
	other.Wall, other.Busy = time.Second, 0.5
	other.First, other.Last, other.Error = 4*time.Millisecond, 9*time.Millisecond, "another"
	sum.add(other)
	v := reflect.ValueOf(sum.Counts)
	for i := range v.NumField() {
		if got := v.Field(i).Int(); got != int64(2*(i+1)) {
			t.Errorf("%s: got %d, want %d", v.Type().Field(i).Name, got, 2*(i+1))
		}
	}
	if sum.Latency.TotalCount() != 6 || sum.Connect.TotalCount() != 10 || sum.Late.TotalCount() != 2 {
		t.Errorf("got %d, %d, %d values, want 6, 10, 2", sum.Latency.TotalCount(), sum.Connect.TotalCount(), sum.Late.TotalCount())
	}
	if sum.CPU != 2*time.Second || sum.Wall != 3*time.Second || sum.Busy != 0.5 {
		t.Errorf("got CPU %v, wall %v, busy %v, want 2s, 3s, 0.5", sum.CPU, sum.Wall, sum.Busy)
	}
	if sum.First != 4*time.Millisecond || sum.Last != 9*time.Millisecond || sum.Error != "gone" {
		t.Errorf("got first %v, last %v, %q, want 4ms, 9ms, gone", sum.First, sum.Last, sum.Error)
	}
	// Loops that had no deliveries, or nothing to complain of, take nothing away.
	sum.add(newStats())
	if sum.First != 4*time.Millisecond {
		t.Errorf("got first %v, want 4ms", sum.First)
	}
	none := newStats()
	if none.add(sum); none.First != sum.First || none.Error != "gone" {
		t.Errorf("got first %v, %q, want %v, gone", none.First, none.Error, sum.First)
	}
}

func TestHistogram(t *testing.T) {
	var none Histogram
	if got := none.At(0.5); got != 0 {
		t.Errorf("zero value: got %v, want 0", got)
	}
	h := newHistogram()
	if got := h.At(0.99); got != 0 {
		t.Errorf("empty: got %v, want 0", got)
	}
	h.record(-time.Second, 1)
	h.record(time.Millisecond, 98)
	h.record(2*time.Hour, 1)
	for q, want := range map[float64]time.Duration{0: 0, 0.5: time.Millisecond, 0.99: time.Millisecond, 1: time.Hour} {
		if got := h.At(q); got < want || float64(got) > float64(want)*1.001+1000 {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
}

func TestLimited(t *testing.T) {
	s := newStats()
	s.Busy = 0.9
	s.Late.record(9*time.Millisecond, 99)
	s.Late.record(time.Second, 1)
	if s.Limited() {
		t.Error("a busy loop and one late message in a hundred: got limited")
	}
	s.Late.record(time.Second, 1)
	if !s.Limited() {
		t.Error("two late messages in a hundred: got not limited")
	}
	if s = newStats(); s.Limited() {
		t.Error("nothing: got limited")
	}
	if s.Busy = 0.91; !s.Limited() {
		t.Error("a loop that was on a core all the time: got not limited")
	}
}

func TestFaults(t *testing.T) {
	if got := (Counts{Dropped: 1000, Lost: 1, Duplicated: 20, Reordered: 300, Corrupted: 4000}).Faults(); got != 4321 {
		t.Errorf("got %d, want 4321", got)
	}
}
