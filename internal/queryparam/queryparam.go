// Package queryparam reads single parameters from the query of a URL. Other parameters are meant for other programs,
// and may have any form: "?a=b;c=d" and "?rate=100%" are not errors.
package queryparam

import (
	"iter"
	"net/url"
	"strings"
)

// Values returns the values of the parameters in a raw query whose name is accepted, in their order. Only "&"
// separates parameters. Values are unescaped, but a value with an invalid escape is returned unchanged, so that an
// error can quote it. Other parameters are not checked.
func Values(raw string, accept func(name string) bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for parameter := range strings.SplitSeq(raw, "&") {
			name, value, _ := strings.Cut(parameter, "=")
			if !accept(unescape(name)) {
				continue
			}
			if !yield(unescape(value)) {
				return
			}
		}
	}
}

// Named returns a function for Values that accepts one name.
func Named(want string) func(name string) bool { return func(name string) bool { return name == want } }

// Last returns the last value that is not empty, or "". A parameter without a value counts as absent. A parameter
// that a client appends to its URL takes precedence over earlier ones.
func Last(raw string, accept func(name string) bool) (last string) {
	for value := range Values(raw, accept) {
		if value != "" {
			last = value
		}
	}
	return last
}

// unescape returns s without escapes, or s itself if an escape is invalid.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
