package model

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// table is a table of Markdown. Columns but the first stand to the right.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	line(t.head)
	b.WriteString("|---" + strings.Repeat("|--:", len(t.head)-1) + "|\n")
	for _, r := range t.rows {
		line(r)
	}
	return b.String()
}

// figure writes two significant digits, and all that stand before the point.
func figure(v float64) string {
	switch {
	case v == math.Trunc(v) && v >= 0 && v < 10:
		return strconv.Itoa(int(v))
	case v < 0:
		return "-" + figure(-v)
	case v < 0.01:
		return "< 0.01"
	case v >= 10:
		return thousands(strconv.FormatFloat(round(v), 'f', 0, 64))
	}
	text := strconv.FormatFloat(v, 'f', 2, 64)
	if v >= 1 {
		text = strconv.FormatFloat(v, 'f', 1, 64)
	}
	return text
}

// round keeps three digits.
func round(v float64) float64 {
	text := strconv.FormatFloat(v, 'e', 2, 64)
	v, _ = strconv.ParseFloat(text, 64) // It was one.
	return v
}

func thousands(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func bytes(v float64) string {
	switch {
	case v >= 1e9:
		return figure(v/1e9) + " GB"
	case v >= 1e6:
		return figure(v/1e6) + " MB"
	case v >= 1e3:
		return figure(v/1e3) + " KB"
	}
	return figure(v) + " B"
}

func gigabits(v float64) string { return figure(v / 1e9) }

func span(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
