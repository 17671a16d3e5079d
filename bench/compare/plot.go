package main

import (
	"os"
	"slices"

	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// picture is one plot of the page. A contender has the same colour in all.
type picture struct {
	name string
	draw func(*results) *chart // nil if nothing of it was measured
}

var pictures = []picture{
	{"memory", drawMemory},
	{"fanout", drawFanout},
	{"latency-p50", func(r *results) *chart { return drawLatency(r, "p50") }},
	{"latency-p99", func(r *results) *chart { return drawLatency(r, "p99") }},
	{"burst", drawBurst},
}

func drawMemory(r *results) *chart {
	c := newChart("Own memory of an idle connection")
	c.logY("memory per connection [B]")
	return byContender(r, c, "memory/conn", caseLegend{"idle", ""})
}

func drawBurst(r *results) *chart {
	c := newChart("Throughput: bursts of 100 messages to 1,000 connections")
	c.logY("deliveries per second")
	return byContender(r, c, "deliveries", caseLegend{"burst-1", "1 sender"}, caseLegend{"burst-100", "100 senders"})
}

func drawFanout(r *results) *chart {
	c := newChart("CPU per delivery against connections: 64 B, one message at a time")
	c.logX("connections")
	c.linearY("CPU per delivery [µs]")
	return byLoad(r, c, "CPU/delivery", "fanout-1000", "fanout-5000", "fanout-18000")
}

func drawLatency(r *results, figure string) *chart {
	var names []string
	for _, c := range cases(false) {
		if c.mode == "overload" {
			names = append(names, c.name)
		}
	}
	c := newChart("Latency (" + figure + ") against the rate offered: 64 B to 1,000 connections")
	c.logX("messages per second")
	c.logY(figure + " from the time when a message was due [ms]")
	return byLoad(r, c, figure, names...)
}

// load returns the figure in which the cases of one line differ.
func (c *caseResult) load() float64 {
	if c.Mode == "overload" {
		return float64(c.Rate)
	}
	return float64(c.Conns)
}

// byLoad draws a line for each contender: one figure in several cases.
func byLoad(r *results, c *chart, figure string, names ...string) *chart {
	for i, contender := range contenderNames() {
		var points []spread
		for _, name := range names {
			result := r.find(name)
			if result == nil {
				continue
			}
			if f, ok := result.server(contender).figure(figure); ok {
				points = append(points, newSpread(result.load(), f))
			}
		}
		c.addLine(i, title(contender), points)
	}
	return c.orNil()
}

// caseLegend is a case and its name in the legend, which may be empty.
type caseLegend struct{ name, legend string }

// byContender draws a point for each contender and case.
func byContender(r *results, c *chart, figure string, cases ...caseLegend) *chart {
	var names []string
	for _, contender := range contenderNames() {
		if slices.ContainsFunc(cases, func(n caseLegend) bool {
			result := r.find(n.name)
			return result != nil && result.server(contender) != nil
		}) {
			names = append(names, title(contender))
		}
	}
	for i, n := range cases {
		result := r.find(n.name)
		if result == nil {
			continue
		}
		const apart = 0.2
		shift := apart * (float64(i) - float64(len(cases)-1)/2)
		var points []spread
		for _, server := range result.Servers {
			if f, ok := server.figure(figure); ok {
				points = append(points, newSpread(float64(slices.Index(names, title(server.Name)))+shift, f))
			}
		}
		c.addPoints(i, n.legend, points)
	}
	if len(names) > 0 { // NominalX panics for none.
		c.plot.NominalX(names...)
	}
	return c.orNil()
}

// newSpread returns the median of a figure with the least and the greatest of its rounds.
func newSpread(x float64, f figure) spread {
	return spread{x, f.Median, slices.Min(f.Rounds), slices.Max(f.Rounds)}
}

// save writes the chart as SVG.
func (c *chart) save(file string) error {
	svg := vgsvg.New(chartWidth, chartHeight)
	c.drawTo(draw.New(svg))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := svg.WriteTo(f); err != nil {
		_ = f.Close() // The first error counts.
		return err
	}
	return f.Close()
}
