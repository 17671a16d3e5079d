package load

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/crier-ws/crier/internal/swarm"
)

// quantiles are the ones that a summary shows.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}

// print writes the summary.
func (r *result) print(w io.Writer) error {
	if r.cmd.JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r.json())
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}

// rows are the summary's lines.
func (r *result) rows() [][2]string {
	s, cmd := r.stats, r.cmd
	rows := [][2]string{
		{"target", cmd.URL},
		{"connections", fmt.Sprintf("%s in %s, %s/s; greeted after %s", grouped(cmd.Conns), short(r.connecting), grouped(perSecond(cmd.Conns, r.connecting)), spread(s.Connect))},
		{"sent", fmt.Sprintf("%s messages of %s B from %s, %s", grouped(s.Sent), grouped(int(cmd.Size)), plural(cmd.Senders, "sender"), cmd.pattern())},
		{"delivered", fmt.Sprintf("%s in %s, %s/s", grouped(s.Delivered), short(r.sending), grouped(perSecond(s.Delivered, r.sending)))},
		{"faults", fmt.Sprintf("%s lost, %s duplicated, %s reordered, %s corrupted", grouped(s.Lost), grouped(s.Duplicated), grouped(s.Reordered), grouped(s.Corrupted))},
		{"latency", spread(s.Latency)},
	}
	if s.Renewed > 0 {
		rows = append(rows, [2]string{"churn", grouped(s.Renewed) + " connections ended and made again"})
	}
	if s.Dropped > 0 {
		rows = append(rows, [2]string{"closed", grouped(s.Dropped) + " connections; the first: " + s.Error})
	}
	if r.stalled > 0 {
		rows = append(rows, [2]string{"stalled", fmt.Sprintf("%s: %s were closed, %s got everything once they read, %s lack messages",
			plural(r.stalled, "connection"), grouped(r.woken.Dropped), grouped(r.woken.Whole), grouped(r.woken.Lacking))})
	}
	own := fmt.Sprintf("%.2f us of CPU a delivery, its busiest thread %.0f %% of the time", r.cpu(), 100*s.Busy)
	if s.Limited() {
		own += "; it, not the server, may have been the limit"
	}
	return append(rows, [2]string{"swarm", own})
}

// json is the summary for programs. Times are in nanoseconds.
func (r *result) json() any {
	s, cmd := r.stats, r.cmd
	return map[string]any{
		"target": cmd.URL, "conns": cmd.Conns, "senders": cmd.Senders, "size": cmd.Size,
		"rate": cmd.Rate, "burst": cmd.Burst, "churn": cmd.Churn,
		"connect_ns": r.connecting, "greeted_ns": quantilesOf(s.Connect),
		"sent": s.Sent, "delivered": s.Delivered, "sending_ns": r.sending,
		"deliveries_per_second": perSecond(s.Delivered, r.sending),
		"lost":                  s.Lost, "duplicated": s.Duplicated, "reordered": s.Reordered, "corrupted": s.Corrupted,
		"closed": s.Dropped, "first_error": s.Error, "renewed": s.Renewed, "pings": s.Pings,
		"latency_ns": quantilesOf(s.Latency), "late_ns": quantilesOf(s.Late),
		"stalled": map[string]int{
			"conns": r.stalled, "closed": r.woken.Dropped, "whole": r.woken.Whole, "lacking": r.woken.Lacking,
		},
		"swarm": map[string]any{
			"cpu_per_delivery_ns": 1000 * r.cpu(), "busy": s.Busy, "was_the_limit": s.Limited(),
		},
	}
}

// cpu returns what a delivery cost the swarm in microseconds.
func (r *result) cpu() float64 {
	return float64(r.stats.CPU) / float64(time.Microsecond) / float64(max(r.stats.Delivered, 1))
}

// pattern says how messages are sent.
func (cmd *Cmd) pattern() string {
	how := "closed loop"
	if cmd.Rate > 0 {
		how = fmt.Sprintf("open loop at %v/s", cmd.Rate)
	}
	if cmd.Burst > 1 {
		how += fmt.Sprintf(", %s at once", grouped(cmd.Burst))
	}
	return how
}

func quantilesOf(h swarm.Histogram) map[string]time.Duration {
	m := map[string]time.Duration{}
	for _, q := range quantiles {
		m[q.name] = h.At(q.q)
	}
	return m
}

// spread says how durations are spread.
func spread(h swarm.Histogram) string {
	if h.TotalCount() == 0 {
		return "-"
	}
	s := ""
	for _, q := range quantiles {
		s += fmt.Sprintf("%s %s  ", q.name, short(h.At(q.q)))
	}
	return s[:len(s)-2]
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for ; d/unit >= 1000; unit *= 10 {
	}
	return d.Round(unit).String()
}

func perSecond(n int, d time.Duration) int { return int(float64(n) / max(d, 1).Seconds()) }

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// grouped returns n with a comma at each thousand.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
