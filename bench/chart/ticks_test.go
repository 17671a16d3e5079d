package chart

import (
	"fmt"
	"testing"
)

func TestTicks(t *testing.T) {
	log, percentile := Axis{Scale: Log}, Axis{Scale: Percentile}
	tests := []struct {
		name   string
		axis   Axis
		values []float64
		want   string
	}{
		{"linear", Axis{}, []float64{5, 7.3}, "0 1 2 3 4 5 6 7 8"},
		{"linear, twos", Axis{}, []float64{14}, "0 2 4 6 8 10 12 14"},
		{"linear, fives", Axis{}, []float64{38}, "0 5 10 15 20 25 30 35 40"},
		{"linear, small", Axis{}, []float64{0.0009}, "0 0.0001 0.0002 0.0003 0.0004 0.0005 0.0006 0.0007 0.0008 0.0009"},
		{"linear, both signs", Axis{}, []float64{-1000, 2500}, "-1,000 -500 0 500 1,000 1,500 2,000 2,500"},
		{"linear, zeros", Axis{}, []float64{0, 0}, "0 0.2 0.4 0.6 0.8 1"},
		{"linear, large", Axis{}, []float64{7e6}, "0 1 M 2 M 3 M 4 M 5 M 6 M 7 M"},
		{"log", log, []float64{1000, 18000}, "1,000 2,000 5,000 10,000 20,000"},
		{"log, one value", log, []float64{10}, "5 10 20"},
		{"log, one value between", log, []float64{7}, "2 5 10 20"},
		{"log, decades", log, []float64{0.02, 30000}, "0.1 1 10 100 1,000 10,000"},
		{"log, many decades", log, []float64{1, 1e18}, "1 1,000 1 M 1 G 1,000 G 1e+15 1e+18"},
		{"log, none", log, nil, "1 2 5 10"},
		{"percentile", percentile, []float64{0, 0.9995}, "0 % 50 % 90 % 99 % 99.9 %"},
		{"percentile, few", percentile, []float64{0.2}, "0 % 50 % 90 %"},
		{"percentile, exact", percentile, []float64{0.99999}, "0 % 50 % 90 % 99 % 99.9 % 99.99 % 99.999 %"},
		{"categories", Axis{Scale: Categories, Labels: []string{"a", "b"}}, nil, "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, tick := range newSpan(tt.axis, tt.values).labelled() {
				got += " " + tick.Label
			}
			if got != " "+tt.want {
				t.Errorf("got %q, want %q", got, " "+tt.want)
			}
		})
	}
}

// TestInside: all values lie in the span, whatever they are.
func TestInside(t *testing.T) {
	for _, scale := range []Scale{Linear, Log} {
		for v := 1.3e-12; v < 1e13; v *= 1.7 {
			for _, values := range [][]float64{{v}, {v, 3 * v}, {v, 12345 * v}} {
				s := newSpan(Axis{Scale: scale}, values)
				s.SetDomain(1000)
				name := fmt.Sprintf("%v on %v", values, scale)
				for _, v := range values {
					if p := s.Translate(v); p < 0 || p > 1000 {
						t.Errorf("%s: %v is at %d", name, v, p)
					}
				}
				if n := len(s.ticks); n < 2 || n > 12 {
					t.Errorf("%s: %d ticks", name, n)
				}
			}
		}
	}
}
