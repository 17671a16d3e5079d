package load

import (
	"fmt"
	"time"

	"github.com/crier-ws/crier/bench/chart"
)

// plot draws latency by percentile into a file.
func (r *result) plot(file string) error {
	c := chart.Chart{
		Title:  fmt.Sprintf("Latency, %s connections, %s", grouped(r.cmd.Conns), r.cmd.pattern()),
		X:      chart.Axis{Title: "share of deliveries", Scale: chart.Percentile},
		Y:      chart.Axis{Title: "latency [ms]", Scale: chart.Log},
		Series: []chart.Series{{Name: r.cmd.URL, Line: true}},
	}
	// As fine as the deliveries are many: behind the last one there is nothing to see.
	const steps = 10
	for _, b := range r.stats.Latency.CumulativeDistributionWithTicks(steps) {
		c.Series[0].Points = append(c.Series[0].Points, chart.Point{
			X: b.Quantile / 100, Y: float64(b.ValueAt) / float64(time.Millisecond),
		})
	}
	return c.Save(file)
}
