package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// threeRounds returns a report with a server that failed between two that did not.
func threeRounds() *report {
	o := &options{mode: "fanout", conns: 10, senders: 1, size: 64, burst: 1, rounds: 3}
	r := newReport(o, []contender{{name: "floor"}, {name: "broken"}, {name: "slow"}})
	for i, v := range []float64{5, 4, 9} {
		r.add(i, 0, []metric{{"CPU/delivery", "us", v}, {"messages", "", 100}})
		r.add(i, 2, []metric{{"CPU/delivery", "us", 2 * v}, {"messages", "", 50}})
	}
	return r
}

func TestRatioIsOfRoundsThatBothHave(t *testing.T) {
	r := newReport(&options{rounds: 4}, []contender{{name: "first"}, {name: "second"}})
	one := func(v float64) []metric { return []metric{{"CPU", "us", v}} }
	r.add(0, 1, one(100))
	if got := r.servers[1].Ratio; got != 0 {
		t.Errorf("without the first: got %v, want 0", got)
	}
	for i, v := range []float64{1, 10, 100} { // a machine that slows down
		r.add(i+1, 0, one(v))
		r.add(i+1, 1, one(3*v))
	}
	if got := r.servers[1].Ratio; got != 3 {
		t.Errorf("got %v, want 3", got)
	}
}

func TestReportTable(t *testing.T) {
	var b bytes.Buffer
	if err := threeRounds().print(&b, false); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"fanout: 10 connections, 64 B, 1 sender(s), medians of 3",
		"server ratio CPU/delivery [us] range messages",
		"floor 1 5 4-9 100",
		"broken failed",
		"slow 2 10 8-18 50",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestReportJSON(t *testing.T) {
	var b bytes.Buffer
	if err := threeRounds().print(&b, true); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Mode    string
		Servers []results
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Mode != "fanout" || len(got.Servers) != 3 {
		t.Fatalf("got %+v", got)
	}
	slow := got.Servers[2]
	if slow.Server != "slow" || slow.Ratio != 2 || slow.Figures[0].Median != 10 || len(slow.Figures[0].Rounds) != 3 {
		t.Errorf("got %+v", slow)
	}
}

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 3, 2, 1}, 2.5},
	}
	for _, tt := range tests {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v): got %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	tests := []struct {
		v    float64
		want string
	}{
		{0, "0"}, {0.05234, "0.0523"}, {4.196, "4.2"}, {12.34, "12.3"},
		{193.64, "193.6"}, {4401.9, "4402"}, {30000000, "30000000"}, {-5123.4, "-5123"},
	}
	for _, tt := range tests {
		if got := number(tt.v); got != tt.want {
			t.Errorf("number(%v): got %q, want %q", tt.v, got, tt.want)
		}
	}
}
