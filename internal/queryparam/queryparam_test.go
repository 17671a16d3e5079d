package queryparam

import (
	"net/url"
	"slices"
	"testing"
)

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		want      []string
		last      string
	}{
		{"empty query", "", nil, ""},
		{"absent", "a=b&c", nil, ""},
		{"alone", "since=x", []string{"x"}, "x"},
		{"among others", "a=b&since=x&c=d", []string{"x"}, "x"},
		{"semicolons elsewhere", "a=b;c=d&since=x", []string{"x"}, "x"},
		{"a semicolon does not separate", "a=b;since=x", nil, ""},
		{"percent sign elsewhere", "rate=100%&since=x&%zz=%", []string{"x"}, "x"},
		{"escaped", "since=a%2Db+c", []string{"a-b c"}, "a-b c"},
		{"escaped name", "s%69nce=x", []string{"x"}, "x"},
		{"broken escape", "since=a%zz", []string{"a%zz"}, "a%zz"},
		{"no value", "since&since=", []string{"", ""}, ""},
		{"an equals sign in the value", "since=a=b", []string{"a=b"}, "a=b"},
		{"several times", "since=x&since=y", []string{"x", "y"}, "y"},
		{"empty at last", "since=x&since=", []string{"x", ""}, "x"},
		{"other case", "Since=x", nil, ""},
		{"longer name", "sincere=x&xsince=y", nil, ""},
		{"separators only", "&&=&", nil, ""},
	} {
		if got := slices.Collect(Values(tt.raw, Named("since"))); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := Last(tt.raw, Named("since")); got != tt.last {
			t.Errorf("%s: got last %q, want %q", tt.name, got, tt.last)
		}
	}
	for first := range Values("since=x&since=y", Named("since")) {
		if first != "x" {
			t.Errorf("got %q first, want x", first)
		}
		break
	}
}

// FuzzValues checks that Values agrees with net/url on each query that net/url can read.
func FuzzValues(f *testing.F) {
	for _, raw := range []string{"since=a", "a=b&since=%41&since=", "since=a;b", "rate=100%", "s%69nce=a+b&&="} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := slices.Collect(Values(raw, Named("since")))
		all, err := url.ParseQuery(raw)
		if err == nil && !slices.Equal(got, all["since"]) {
			t.Errorf("%q: got %q, want %q", raw, got, all["since"])
		}
	})
}
