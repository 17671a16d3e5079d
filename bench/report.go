package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// metric is one figure of a round. The first of a round is the one compared.
type metric struct {
	Name  string
	Unit  string
	Value float64
}

// report gathers the figures of all rounds.
type report struct {
	options *options
	servers []results
	keys    [][]float64 // per server and round: the first metric, 0 if that one failed
}

// results are one server's figures: for each metric the values of all rounds.
type results struct {
	Server  string   `json:"server"`
	Figures []figure `json:"figures"`
	Ratio   float64  `json:"ratio,omitempty"`
}

// figure is one metric over all rounds.
type figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
}

func newReport(o *options, contenders []contender) *report {
	r := &report{options: o}
	for _, c := range contenders {
		r.keys = append(r.keys, make([]float64, o.rounds))
		r.servers = append(r.servers, results{Server: c.name, Figures: []figure{}})
	}
	return r
}

// add takes the metrics of one round (from 0) of the k-th server, which are the same
// ones in each round.
func (r *report) add(round, k int, metrics []metric) {
	s := &r.servers[k]
	for i, m := range metrics {
		if i == len(s.Figures) {
			s.Figures = append(s.Figures, figure{Name: m.Name, Unit: m.Unit})
		}
		f := &s.Figures[i]
		f.Rounds = append(f.Rounds, m.Value)
		f.Median = median(f.Rounds)
	}
	r.keys[k][round] = metrics[0].Value
	for k := range r.servers {
		r.servers[k].Ratio = r.ratio(k)
	}
}

// ratio returns the k-th server's ratio to the first: the median of the ratios within
// a round, whose measurements are near each other in time, as the machine is not
// equally fast at all times. It is 0 if there is no round with both.
func (r *report) ratio(k int) float64 {
	var ratios []float64
	for i, first := range r.keys[0] {
		if v := r.keys[k][i]; v != 0 && first != 0 {
			ratios = append(ratios, v/first)
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	return median(ratios)
}

func median[T float64 | time.Duration](values []T) T {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// print writes the report as a table or as JSON.
func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		o := r.options
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{
			"mode": o.mode, "conns": o.conns, "senders": o.senders, "size": o.size,
			"burst": o.burst, "rate": o.rate, "rounds": o.rounds, "servers": r.servers,
		})
	}
	fmt.Fprintln(w, r.title())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	r.printTable(t)
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.servers {
		if own, server := s.median("swarm"), s.median("CPU/delivery"); own > server {
			fmt.Fprintf(w, "%s takes less CPU per delivery than the swarm, which so limits its deliveries/s.\n", s.Server)
		}
	}
	return nil
}

// median returns a figure, 0 if there is no such.
func (s results) median(name string) float64 {
	for _, f := range s.Figures {
		if f.Name == name {
			return f.Median
		}
	}
	return 0
}

// title says what was measured.
func (r *report) title() string {
	o := r.options
	s := fmt.Sprintf("%s: %d connections", o.mode, o.conns)
	if findMode(o.mode).duration > 0 {
		s += fmt.Sprintf(", %d B, %d sender(s)", o.size, o.senders)
	}
	if o.burst > 1 {
		s += fmt.Sprintf(", bursts of %d", o.burst)
	}
	if o.rate > 0 {
		s += fmt.Sprintf(", %v/s for %v", o.rate, o.duration)
	}
	return s + fmt.Sprintf(", medians of %d", o.rounds)
}

// printTable writes a line for each server below the headings.
func (r *report) printTable(w io.Writer) {
	if i := slices.IndexFunc(r.servers, results.any); i >= 0 {
		fmt.Fprint(w, "server\tratio\t")
		for k, f := range r.servers[i].Figures {
			fmt.Fprintf(w, "%s\t", heading(f, k == 0))
		}
		fmt.Fprintln(w)
	}
	for _, s := range r.servers {
		s.printLine(w)
	}
}

// any tells whether there was a round that did not fail.
func (s results) any() bool { return len(s.Figures) > 0 }

func (s results) printLine(w io.Writer) {
	if !s.any() {
		fmt.Fprintf(w, "%s\tfailed\t\n", s.Server)
		return
	}
	ratio := "-"
	if s.Ratio != 0 {
		ratio = number(s.Ratio)
	}
	fmt.Fprintf(w, "%s\t%s\t", s.Server, ratio)
	for i, f := range s.Figures {
		fmt.Fprintf(w, "%s\t", number(f.Median))
		if i == 0 {
			fmt.Fprintf(w, "%s-%s\t", number(slices.Min(f.Rounds)), number(slices.Max(f.Rounds)))
		}
	}
	fmt.Fprintln(w)
}

// heading names a column; the first figure has a second one for its range.
func heading(f figure, ranged bool) string {
	s := f.Name
	if f.Unit != "" {
		s += " [" + f.Unit + "]"
	}
	if ranged {
		s += "\trange"
	}
	return s
}

// number prints three significant digits at least, and whole numbers whole.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 1000 || v <= -1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
