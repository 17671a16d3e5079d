package load

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"strconv"
	"time"
)

// The size of a plot and the edges of the rectangle around its curve, in pixels.
const (
	plotWidth, plotHeight = 960, 540
	plotLeft, plotRight   = 80, plotWidth - 30
	plotTop, plotBottom   = 80, plotHeight - 60
	titleLine, legendLine = 30, 52 // baselines
	mostNines             = 12     // 99.9... % with more nines is too close to 1 for the labels
)

var (
	ink      = color.RGBA{0x24, 0x29, 0x2f, 0xff}
	gridInk  = color.RGBA{0xd0, 0xd7, 0xde, 0xff}
	curveInk = color.RGBA{0x00, 0x72, 0xb2, 0xff}
)

// point is a position in pixels from the top left corner.
type point struct{ x, y float64 }

// sample is a point of the curve: the share quantile of all deliveries, from 0 to less than 1, took at most millis
// milliseconds.
type sample struct{ quantile, millis float64 }

// plot writes a chart of the latency by percentile to a .svg or .png file.
func (r *result) plot(file string) error {
	c, err := newCanvas(file)
	if err != nil {
		return err
	}
	drawPlot(c, fmt.Sprintf("Latency, %s connections, %s", grouped(r.cmd.Conns), r.cmd.pattern()), r.cmd.URL, r.samples())
	var b bytes.Buffer
	if err := c.encode(&b); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// samples returns the curve: ten points each time the number of slower deliveries halves. It leaves out the slowest
// delivery, at quantile 1, and latencies of 0, which logarithmic axes cannot show.
func (r *result) samples() []sample {
	var samples []sample
	for _, b := range r.stats.Latency.CumulativeDistributionWithTicks(10) {
		s := sample{b.Quantile / 100, float64(b.ValueAt) / float64(time.Millisecond)}
		if s.quantile < 1 && s.millis > 0 {
			samples = append(samples, s)
		}
	}
	return samples
}

// drawPlot draws samples, which must be in ascending order. Its axis of percentiles is logarithmic, as HdrHistogram's:
// 90 %, 99 % and 99.9 % are equally far apart.
func drawPlot(c canvas, title, legend string, samples []sample) {
	c.text(ink, point{plotLeft, titleLine}, alignStart, title)
	c.text(curveInk, point{plotLeft, legendLine}, alignStart, legend)
	c.text(ink, point{(plotLeft + plotRight) / 2, plotHeight - 15}, alignMiddle, "share of deliveries")
	c.text(ink, point{plotLeft, plotTop - 10}, alignEnd, "ms")
	if len(samples) == 0 {
		c.text(ink, point{(plotLeft + plotRight) / 2, (plotTop + plotBottom) / 2}, alignMiddle, "nothing was delivered")
		return
	}
	last := samples[len(samples)-1]
	xOf := xScale(last.quantile)
	yOf, labels, lines := yScale(samples[0].millis, last.millis)
	for _, v := range lines {
		c.line(gridInk, 1, []point{{plotLeft, yOf(v)}, {plotRight, yOf(v)}})
	}
	for _, v := range labels {
		c.text(ink, point{plotLeft - 8, yOf(v) + 4}, alignEnd, strconv.FormatFloat(v, 'f', -1, 64))
	}
	for _, q := range percentiles(last.quantile) {
		c.line(gridInk, 1, []point{{xOf(q), plotTop}, {xOf(q), plotBottom}})
		c.text(ink, point{xOf(q), plotBottom + 20}, alignMiddle, strconv.FormatFloat(100*q, 'g', 12, 64)+" %")
	}
	var curve []point
	for _, s := range samples {
		curve = append(curve, point{xOf(s.quantile), yOf(s.millis)})
	}
	c.line(ink, 1, []point{{plotLeft, plotTop}, {plotLeft, plotBottom}, {plotRight, plotBottom}})
	c.line(curveInk, 2, curve)
}

// xScale returns the function from quantiles to X positions. The axis ends at greatest, or at 0.9 if greatest is less.
func xScale(greatest float64) func(quantile float64) float64 {
	nines := func(q float64) float64 { return -math.Log10(1 - q) }
	return func(q float64) float64 {
		return plotLeft + (plotRight-plotLeft)*nines(q)/nines(max(greatest, 0.9))
	}
}

// percentiles returns the quantiles that get a label: 0, 0.5, 0.9, and then 0.99, 0.999 and so on up to greatest.
func percentiles(greatest float64) []float64 {
	quantiles := []float64{0, 0.5, 0.9}
	for n := 2; n <= mostNines; n++ {
		q := 1 - math.Pow10(-n)
		if q > greatest {
			break
		}
		quantiles = append(quantiles, q)
	}
	return quantiles
}

// yScale returns a logarithmic axis that includes low and high, which must be more than 0: the function from values to Y
// positions, the values that get a label, and the values that get a grid line. The axis begins and ends at 1, 2 or 5
// times a power of ten.
func yScale(low, high float64) (yOf func(float64) float64, labels, lines []float64) {
	first, last := int(math.Floor(math.Log10(low)))-1, int(math.Floor(math.Log10(high)))+1
	bottom, top := 0.0, math.Inf(1) // the largest step up to low and the smallest one above high
	for decade := first; decade <= last; decade++ {
		for _, factor := range []float64{1, 2, 5} {
			step := factor * math.Pow10(decade)
			if step <= low {
				bottom = step
			}
			if step > high {
				top = min(top, step)
			}
		}
	}
	few := top/bottom <= 1000
	for decade := first; decade <= last; decade++ {
		for factor := 1.0; factor < 10; factor++ {
			v := factor * math.Pow10(decade)
			if v < bottom || v > top {
				continue
			}
			lines = append(lines, v)
			if factor == 1 || few && (factor == 2 || factor == 5) {
				labels = append(labels, v)
			}
		}
	}
	return func(v float64) float64 {
		return plotBottom - (plotBottom-plotTop)*math.Log(v/bottom)/math.Log(top/bottom)
	}, labels, lines
}
