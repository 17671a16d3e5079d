// Package flags is kinds of values on the command line, for kong, which takes what
// unmarshals from text.
package flags

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes on the command line: 1048576, 1024KiB or 1MiB.
type Size int

var units = []struct {
	suffix string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// UnmarshalText parses a size.
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = strings.TrimSpace(n), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<50)/factor {
		return fmt.Errorf("%q is not a size; want bytes, or a whole number with KiB, MiB or GiB", text)
	}
	*s = Size(n * factor)
	return nil
}

// Span is a duration on the command line: 30s, 500ms, 1m30s or 0.
type Span time.Duration

// UnmarshalText parses a duration.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 || d > 14*24*time.Hour {
		return fmt.Errorf("%q is not a duration; want a number with its unit, like 500ms, 30s or 1m30s, or 0, and at most 336h", text)
	}
	*s = Span(d)
	return nil
}

// Count is a number on the command line that is not negative.
type Count int

// UnmarshalText parses a count.
func (c *Count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a count; want a whole number from 0 to %d", text, 1<<31-1)
	}
	*c = Count(n)
	return nil
}

// Text returns a size as UnmarshalText takes it, in the largest unit that it is a whole number of.
func (s Size) Text() string {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n := int64(s); n != 0 && n%u.factor == 0 {
			return fmt.Sprintf("%d%s", n/u.factor, u.suffix)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Text returns a duration as UnmarshalText takes it.
func (s Span) Text() string { return time.Duration(s).String() }
