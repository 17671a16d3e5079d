package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// column is a figure as it stands in a table.
type column struct{ figure, heading string }

// columns of each mode. The first one is compared, and also has its range.
var columns = map[string][]column{
	"idle": {
		{"memory/conn", "memory per connection [B]"},
		{"memory of all", "all together [MB]"},
		{"threads", "threads"},
	},
	"handshake": {
		{"CPU/handshake", "CPU per handshake [µs]"},
		{"handshakes", "handshakes per second"},
		{"waited", "waited [%]"},
	},
	"fanout": closedLoop,
	"burst":  closedLoop,
	"overload": {
		{"p99", "p99 [ms]"},
		{"p50", "p50 [ms]"},
		{"max", "greatest [ms]"},
		{"delivered", "delivered"},
		{"missing", "missing"},
		{"cut", "receivers cut off"},
		{"CPU/delivery", "CPU per delivery [µs]"},
		{"waited", "waited [%]"},
	},
	"stalled": {
		{"growth", "growth [MB]"},
		{"healthy whole", "reading: got all"},
		{"healthy cut", "cut off"},
		{"healthy lacking", "lost messages"},
		{"stalled whole", "stalled: got all later"},
		{"stalled cut", "cut off"},
		{"stalled lacking", "lost messages"},
	},
}

var closedLoop = []column{
	{"CPU/delivery", "CPU per delivery [µs]"},
	{"deliveries", "deliveries per second"},
	{"swarm", "the clients' CPU per delivery [µs]"},
	{"waited", "waited [%]"},
	{"drops", "packets dropped"},
}

// table returns a case's table, and below it how it was taken and what failed.
func (c *caseResult) table(quick bool) string {
	var b strings.Builder
	if quick {
		fmt.Fprintf(&b, "%s\n\n", tryOut)
	}
	if len(c.Contenders) == 0 {
		return nobodyMeasured
	}
	shown := columns[c.Mode]
	headings := []string{"", shown[0].heading, "range", "ratio to " + title(c.Contenders[0])}
	for _, col := range shown[1:] {
		headings = append(headings, col.heading)
	}
	row(&b, headings)
	b.WriteString("|---|" + strings.Repeat("--:|", len(headings)-1) + "\n")
	var notes []string
	for i := range c.Servers {
		s := &c.Servers[i]
		cells := s.cells(shown)
		if len(s.Failures) > 0 {
			notes = append(notes, s.note())
			cells[0] += fmt.Sprintf(" <sup>%d</sup>", len(notes))
		}
		row(&b, cells)
	}
	fmt.Fprintf(&b, "\n%s\n", c.method())
	for i, note := range notes {
		fmt.Fprintf(&b, "\n<sup>%d</sup> %s\n", i+1, note)
	}
	return b.String()
}

func row(b *strings.Builder, cells []string) {
	for _, cell := range cells {
		fmt.Fprintf(b, "| %s ", strings.ReplaceAll(cell, "|", `\|`))
	}
	b.WriteString("|\n")
}

// cells returns a server's row.
func (s *server) cells(shown []column) []string {
	key, ok := s.figure(shown[0].figure)
	if !ok {
		return append([]string{title(s.Name), "failed"}, make([]string, len(shown)+1)...)
	}
	ratio := "–"
	if s.Ratio != 0 {
		ratio = strconv.FormatFloat(s.Ratio, 'f', 2, 64)
		if s.Ratio >= 10 {
			ratio = number(s.Ratio)
		}
	}
	spread := "one round"
	if len(key.Rounds) > 1 {
		spread = number(slices.Min(key.Rounds)) + " – " + number(slices.Max(key.Rounds))
	}
	cells := []string{title(s.Name), number(key.Median), spread, ratio}
	for _, col := range shown[1:] {
		f, ok := s.figure(col.figure)
		if !ok {
			cells = append(cells, "–")
			continue
		}
		cells = append(cells, number(f.Median))
	}
	return cells
}

// note says what failed.
func (s *server) note() string {
	n := len(s.Failures)
	reasons := slices.Compact(slices.Sorted(slices.Values(s.Failures)))
	for i, r := range reasons {
		reasons[i] = escape(r)
	}
	f, ok := s.figure("")
	if len(s.Figures) > 0 {
		f, ok = s.figure(s.Figures[0].Name)
	}
	if !ok {
		return strings.Join(reasons, "; ")
	}
	return fmt.Sprintf("%d of %d rounds failed: %s", n, n+len(f.Rounds), strings.Join(reasons, "; "))
}

// method says how a case was measured.
func (c *caseResult) method() string {
	rounds := "one round"
	if c.Rounds > 1 {
		rounds = fmt.Sprintf("%d rounds", c.Rounds)
	}
	return fmt.Sprintf("`measure %s`; %s.", strings.Join(c.Args, " "), rounds)
}

const nobodyMeasured = "None of those that this is for took part.\n"

// tryOut warns of figures of -quick.
const tryOut = "**A try-out: these figures mean nothing.**"

// about says on what all was measured, and what was left out.
func (r *results) about() string {
	if len(r.Cases) == 0 {
		return notMeasured
	}
	s := r.Environment.String() + "."
	if r.Quick {
		s = tryOut + " " + s
	}
	if len(r.LeftOut) > 0 {
		var reasons []string
		for _, l := range r.LeftOut {
			reasons = append(reasons, escape(l))
		}
		s += "\n\nLeft out: " + strings.Join(reasons, "; ") + "."
	}
	return s
}

// title returns a contender's name as people read it.
func title(name string) string {
	if name == "floor-c" {
		return "floor -c"
	}
	return name
}

// escape keeps Markdown and HTML from finding something in a text.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "\\`", "|", `\|`).Replace(s)
}

// number writes three digits, or all of a whole number, with commas.
func number(v float64) string {
	size := math.Abs(v)
	if size < 100 && v != math.Trunc(v) {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return s[:len(s)-len(strings.TrimPrefix(s, "-"))] + digits
}
