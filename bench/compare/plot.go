package main

import (
	"slices"

	"github.com/crier-ws/crier/bench/chart"
)

// plot is one picture. A contender has the same colour in all.
type plot struct {
	name string
	draw func(*results) *chart.Chart // nil if nothing of it was measured
}

var plots = []plot{
	{"memory", drawMemory},
	{"fanout", drawFanout},
	{"latency-p50", func(r *results) *chart.Chart { return drawLatency(r, "p50") }},
	{"latency-p99", func(r *results) *chart.Chart { return drawLatency(r, "p99") }},
	{"burst", drawBurst},
}

func drawMemory(r *results) *chart.Chart {
	return byContender(r, &chart.Chart{
		Title: "Own memory of an idle connection",
		Y:     chart.Axis{Title: "memory per connection [B]", Scale: chart.Log},
	}, "memory/conn", named{"idle", ""})
}

func drawBurst(r *results) *chart.Chart {
	return byContender(r, &chart.Chart{
		Title: "Throughput: bursts of 100 messages to 1,000 connections",
		Y:     chart.Axis{Title: "deliveries per second", Scale: chart.Log},
	}, "deliveries", named{"burst-1", "1 sender"}, named{"burst-100", "100 senders"})
}

func drawFanout(r *results) *chart.Chart {
	return byPlace(r, &chart.Chart{
		Title: "CPU per delivery against connections: 64 B, one message at a time",
		X:     chart.Axis{Title: "connections", Scale: chart.Log},
		Y:     chart.Axis{Title: "CPU per delivery [µs]"},
	}, "CPU/delivery", "fanout-1000", "fanout-5000", "fanout-18000")
}

func drawLatency(r *results, figure string) *chart.Chart {
	var names []string
	for _, c := range cases(false) {
		if c.mode == "overload" {
			names = append(names, c.name)
		}
	}
	return byPlace(r, &chart.Chart{
		Title: "Latency (" + figure + ") against the rate offered: 64 B to 1,000 connections",
		X:     chart.Axis{Title: "messages per second", Scale: chart.Log},
		Y:     chart.Axis{Title: figure + " of the time from when a message was due [ms]", Scale: chart.Log},
	}, figure, names...)
}

// x returns by what the cases of a line differ.
func (c *caseResult) x() float64 {
	if c.Mode == "overload" {
		return float64(c.Rate)
	}
	return float64(c.Conns)
}

// byPlace draws a line for each contender: a figure in several cases.
func byPlace(r *results, c *chart.Chart, figure string, names ...string) *chart.Chart {
	any := false
	for _, contender := range contenderNames() {
		s := chart.Series{Name: title(contender)}
		for _, name := range names {
			result := r.find(name)
			if result == nil {
				continue
			}
			if f, ok := result.server(contender).figure(figure); ok {
				s.Points = append(s.Points, point(result.x(), f))
				any = true
			}
		}
		c.Series = append(c.Series, s)
	}
	if !any {
		return nil
	}
	return c
}

// named is a case and what it is called in the legend.
type named struct{ name, legend string }

// byContender draws a point for each contender and case.
func byContender(r *results, c *chart.Chart, figure string, of ...named) *chart.Chart {
	c.X.Scale = chart.Categories
	for _, contender := range contenderNames() {
		if slices.ContainsFunc(of, func(n named) bool {
			result := r.find(n.name)
			return result != nil && result.server(contender) != nil
		}) {
			c.X.Labels = append(c.X.Labels, title(contender))
		}
	}
	for _, n := range of {
		s := chart.Series{Name: n.legend}
		if result := r.find(n.name); result != nil {
			for _, server := range result.Servers {
				if f, ok := server.figure(figure); ok {
					x := slices.Index(c.X.Labels, title(server.Name))
					s.Points = append(s.Points, point(float64(x), f))
				}
			}
		}
		c.Series = append(c.Series, s)
	}
	if len(c.X.Labels) == 0 {
		return nil
	}
	return c
}

func point(x float64, f figure) chart.Point {
	return chart.Point{X: x, Y: f.Median, Low: slices.Min(f.Rounds), High: slices.Max(f.Rounds)}
}
