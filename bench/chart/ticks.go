package chart

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// most is how many ticks an axis has, about.
const most = 9

// linearTicks returns a span around low and high that begins and ends at a tick, and
// its ticks, which are 1, 2 or 5 times a power of ten apart.
func linearTicks(low, high float64) (from, to float64, ticks []float64) {
	if high == low {
		high = low + 1
	}
	step := math.Pow10(int(math.Floor(math.Log10((high-low)/most))) - 1)
	for i := 0; (high-low)/step > most; i++ {
		step *= []float64{2, 2.5, 2}[i%3]
	}
	first, last := math.Floor(low/step), math.Ceil(high/step)
	for k := first; k <= last; k++ {
		ticks = append(ticks, k*step)
	}
	return first * step, last * step, ticks
}

// logTicks returns a span around low and high, which are above 0, its ticks, and what
// lies between them. It begins and ends at 1, 2 or 5 times a power of ten.
func logTicks(low, high float64) (from, to float64, ticks, between []float64) {
	from, to = roundDown(low), roundUp(high)
	if to/from < 2.1 { // a single value, or few that are near each other
		from, to = roundDown(from*0.99), roundUp(to*1.01)
	}
	first, last := decade(from), decade(to)
	factors := []float64{1, 2, 5}
	if 3*(last-first) > most {
		factors = factors[:1]
	}
	every := (last-first)/most + 1
	for d := first; d <= last; d++ {
		for k := 1.0; k < 10; k++ {
			v := scaled(k, d)
			switch {
			case v < from*(1-1e-9) || v > to*(1+1e-9):
			case (d-first)%every == 0 && slices.Contains(factors, k):
				ticks = append(ticks, v)
			case last-first <= most:
				between = append(between, v)
			}
		}
	}
	return from, to, ticks, between
}

// decade returns the exponent of the power of ten at v or below.
func decade(v float64) int { return int(math.Floor(math.Log10(v) + 1e-9)) }

// scaled returns k times the d-th power of ten, rounded as the literal would be.
func scaled(k float64, d int) float64 {
	if d < 0 {
		return k / math.Pow10(-d)
	}
	return k * math.Pow10(d)
}

// roundDown returns the greatest 1, 2 or 5 times a power of ten that is not above v.
func roundDown(v float64) float64 {
	d := decade(v)
	for _, k := range []float64{5, 2} {
		if r := scaled(k, d); r <= v*(1+1e-9) {
			return r
		}
	}
	return scaled(1, d)
}

// roundUp returns the least 1, 2 or 5 times a power of ten that is not below v.
func roundUp(v float64) float64 {
	d := decade(v)
	for _, k := range []float64{1, 2, 5} {
		if r := scaled(k, d); r >= v*(1-1e-9) {
			return r
		}
	}
	return scaled(1, d+1)
}

// percentileTicks returns 0, a half and the nines up to the quantile high.
func percentileTicks(high float64) []float64 {
	ticks := []float64{0, 0.5}
	for left := 10.0; ; left *= 10 {
		q := 1 - 1/left
		if q > high+1e-12 || q == 1 {
			return ticks
		}
		ticks = append(ticks, q)
	}
}

// label returns what is written at a tick.
func (a Axis) label(v float64) string {
	switch a.Scale {
	case Percentile:
		return strconv.FormatFloat(100*v, 'g', 12, 64) + " %"
	case Categories:
		return a.Labels[int(v)]
	}
	return number(v)
}

// number writes round numbers: 0.05, 5,000, 20 M.
func number(v float64) string {
	switch size := math.Abs(v); {
	case v == 0:
		return "0"
	case size >= 1e15 || size < 1e-4:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case size >= 1e9:
		return number(v/1e9) + " G"
	case size >= 1e6:
		return number(v/1e6) + " M"
	case size >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// thousands puts commas into the digits of a whole number.
func thousands(digits string) string {
	sign := ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
