// Package flags has the types of values on the command line, in the environment and in the configuration file. kong
// parses them with UnmarshalText.
//
// Errors continue a sentence that begins with the flag: "is -1, want 0 or more".
//
//	flags.go  numbers, sizes, durations and words
//	list.go   lists, and networks
//
// Sizes are parsed here: libraries such as dustin/go-humanize and docker/go-units also accept 1.5MB or 10k, and
// round, where crier wants an exact number of bytes and an error that names the limit.
package flags

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes from 0 to 2^50: 1048576, 1024KiB or 1MiB.
type Size int

const maxSize = 1 << 50

var units = []struct {
	suffix string
	factor int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

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
	if err := faultOf(text, n, err, maxSize/factor, "a size: bytes, or a whole number with KiB, MiB or GiB",
		Size(maxSize).Text()); err != nil {
		return err
	}
	*s = Size(n * factor)
	return nil
}

// Text returns a size in the syntax of UnmarshalText, in the largest unit that divides it.
func (s Size) Text() string {
	for _, u := range units {
		if n := int64(s); n != 0 && n%u.factor == 0 && u.factor > 1 {
			return fmt.Sprintf("%d%s", n/u.factor, u.suffix)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Span is a duration from 0 to 336h: 30s, 500ms, 1m30s or 0.
type Span time.Duration

const maxSpan = 14 * 24 * time.Hour

// UnmarshalText parses a duration.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil && tooLong(string(text)) { // ParseDuration does not distinguish values above 2562047h from invalid ones.
		err = strconv.ErrRange
	}
	err = faultOf(text, int64(d), err, int64(maxSpan),
		"a duration: a number with its unit, such as 500ms, 30s or 1m30s, or 0",
		fmt.Sprintf("%.0fh", maxSpan.Hours()))
	if err != nil {
		return err
	}
	*s = Span(d)
	return nil
}

// tooLong reports whether text is a duration in one unit whose number is out of the range of a time.Duration.
func tooLong(text string) bool {
	digits := strings.TrimRight(text, "hmsuµn")
	_, err := strconv.ParseFloat(digits, 64)
	_, unitErr := time.ParseDuration("1" + text[len(digits):])
	return err == nil && unitErr == nil
}

// Text returns a duration in the syntax of UnmarshalText.
func (s Span) Text() string { return time.Duration(s).String() }

// Count is a whole number from 0 to 2^31-1.
type Count int

const maxCount = 1<<31 - 1

// UnmarshalText parses a count.
func (c *Count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err := faultOf(text, n, err, maxCount, "a whole number", strconv.Itoa(maxCount)); err != nil {
		return err
	}
	*c = Count(n)
	return nil
}

// Rate is a number from 0 to 2^30, which need not be whole.
type Rate float64

const maxRate = 1 << 30

// UnmarshalText parses a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), math.IsNaN(n):
		return fmt.Errorf("is %q, want a number", text)
	case n < 0:
		return fmt.Errorf("is %s, want 0 or more", text)
	case n > maxRate:
		return fmt.Errorf("is %s, want at most 2^30, which is %d", text, maxRate)
	}
	*r = Rate(n)
	return nil
}

// faultOf returns an error if text, which was parsed as n with err, is not a number from 0 to most. want describes the
// syntax, and bound is most as a user writes it.
func faultOf(text []byte, n int64, err error, most int64, want, bound string) error {
	outside := errors.Is(err, strconv.ErrRange)
	switch {
	case err != nil && !outside:
		return fmt.Errorf("is %q, want %s", text, want)
	case n < 0 || outside && strings.HasPrefix(strings.TrimSpace(string(text)), "-"):
		return fmt.Errorf("is %s, want 0 or more", text)
	case outside || n > most:
		return fmt.Errorf("is %s, want at most %s", text, bound)
	}
	return nil
}

// Choice is one of the words in the flag's enum tag, in upper or lower case.
type Choice string

// UnmarshalText sets the word. kong checks it.
func (c *Choice) UnmarshalText(text []byte) error {
	*c = Choice(strings.ToLower(strings.TrimSpace(string(text))))
	return nil
}
