package chart

import (
	"math"
	"slices"

	gochart "github.com/wcharczuk/go-chart/v2"
)

// span is the part of an axis that is shown. It implements [gochart.Range].
type span struct {
	axis    Axis
	low     float64 // in places, see Axis.place
	high    float64 // greater than low
	ticks   []float64
	between []float64 // weaker lines
	empty   bool      // no value was there to show
	domain  int       // pixels
}

// has tells whether a value has a place on the axis.
func (a Axis) has(v float64) bool {
	const largest = 1e300 // so that no difference is infinite
	if !(math.Abs(v) <= largest) {
		return false
	}
	switch a.Scale {
	case Log:
		return v >= 1/largest
	case Percentile:
		return v >= 0 && v < 1
	case Categories:
		return v >= 0 && int(v) < len(a.Labels)
	}
	return true
}

// place returns where a value that the axis has stands, in units that are equally long
// everywhere.
func (a Axis) place(v float64) float64 {
	switch a.Scale {
	case Log:
		return math.Log10(v)
	case Percentile:
		return -math.Log10(1 - v)
	}
	return v
}

// newSpan returns a span for these values, which the axis has.
func newSpan(a Axis, values []float64) *span {
	s := &span{axis: a, empty: len(values) == 0}
	low, high := 0.0, 0.0
	if !s.empty {
		low, high = slices.Min(values), slices.Max(values)
	}
	switch a.Scale {
	case Log:
		if s.empty {
			low, high = 1, 10
		}
		low, high, s.ticks, s.between = logTicks(low, high)
	case Percentile:
		low, high = 0, max(high, 0.9)
		s.ticks = percentileTicks(high)
	case Categories:
		s.low, s.high = -0.5, max(float64(len(a.Labels)), 1)-0.5
		for i := range a.Labels {
			s.ticks = append(s.ticks, float64(i))
		}
		return s
	default:
		low, high, s.ticks = linearTicks(min(low, 0), max(high, 0))
	}
	s.low, s.high = a.place(low), a.place(high)
	return s
}

// labelled returns the ticks with what is written at them.
func (s *span) labelled() []gochart.Tick {
	var ticks []gochart.Tick
	for _, v := range s.ticks {
		ticks = append(ticks, gochart.Tick{Value: v, Label: s.axis.label(v)})
	}
	return ticks
}

// grid returns the lines across the canvas: strong ones at the ticks, weak ones between.
func (s *span) grid() []gochart.GridLine {
	if s.axis.Scale == Categories {
		// Without a line go-chart would make up its own.
		return []gochart.GridLine{{Style: gridStyle, Value: -0.5}}
	}
	var lines []gochart.GridLine
	for _, v := range s.between {
		lines = append(lines, gochart.GridLine{Style: weakGridStyle, Value: v})
	}
	for _, v := range s.ticks {
		lines = append(lines, gochart.GridLine{Style: gridStyle, Value: v})
	}
	return lines
}

// Translate returns how many pixels a value is away from the axis' start.
func (s *span) Translate(v float64) int {
	return int(math.Round((s.axis.place(v) - s.low) / (s.high - s.low) * float64(s.domain)))
}

// SetDomain takes the length in pixels.
func (s *span) SetDomain(domain int) { s.domain = domain }

// GetDomain returns the length in pixels.
func (s *span) GetDomain() int { return s.domain }

// GetMin returns the place of the start.
func (s *span) GetMin() float64 { return s.low }

// GetMax returns the place of the end.
func (s *span) GetMax() float64 { return s.high }

// GetDelta returns the difference of both.
func (s *span) GetDelta() float64 { return s.high - s.low }

// SetMin does nothing: go-chart would let the span start at the first tick.
func (s *span) SetMin(float64) {}

// SetMax does nothing: go-chart would let the span end at the last tick.
func (s *span) SetMax(float64) {}

// IsZero returns false: the span is set.
func (s *span) IsZero() bool { return false }

// IsDescending returns false.
func (s *span) IsDescending() bool { return false }

func (s *span) String() string { return s.axis.Title }
