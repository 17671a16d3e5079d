package httpjson

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Query parses a query strictly: each parameter must have one of the names, and must not be repeated unless its name
// ends in "[]". The standard library drops parameters that it cannot parse and does not check names, so a mistyped
// request could have another effect than intended.
func Query(u *url.URL, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil && strings.Contains(u.RawQuery, ";"):
		return nil, errors.New("the query has a semicolon: write & between parameters, and %3B for a semicolon in a value")
	case err != nil:
		return nil, errors.New("the query has a percent sign without two hexadecimal digits: write %25 for a percent sign")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(names, name):
			return nil, fmt.Errorf("unknown parameter %q: %s", name, known(names))
		case len(all) > 1 && !strings.HasSuffix(name, "[]"):
			return nil, fmt.Errorf("the parameter %s appears %d times, want it once", name, len(all))
		case !utf8.ValidString(all[0]):
			return nil, fmt.Errorf("the parameter %s is not valid UTF-8", name)
		}
	}
	return values, nil
}

// known returns a list of the names of parameters for an error.
func known(names []string) string {
	switch n := len(names); n {
	case 0:
		return "want no parameters"
	case 1:
		return "want " + names[0]
	default:
		return "want " + strings.Join(names[:n-1], ", ") + " or " + names[n-1]
	}
}
