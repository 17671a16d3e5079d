package flags

import (
	"encoding"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "1048576": 1 << 20, "1KiB": 1 << 10, "512 KiB": 512 << 10, "8MiB": 8 << 20, "2GiB": 2 << 30, "7B": 7,
		"1048576GiB": 1 << 50,
	} {
		var got, again Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
		if err := again.UnmarshalText([]byte(got.Text())); err != nil || again != want {
			t.Errorf("%q: Text is %q, which is %d, %v", text, got.Text(), again, err)
		}
	}
}

// TestFaults checks that each error has the value, and the limit if the value is out of range.
func TestFaults(t *testing.T) {
	const size = "a size: bytes, or a whole number with KiB, MiB or GiB"
	const span = "a duration: a number with its unit, such as 500ms, 30s or 1m30s, or 0"
	for _, tt := range []struct {
		value encoding.TextUnmarshaler
		text  string
		want  string
	}{
		{new(Size), "", `is "", want ` + size},
		{new(Size), "B", `is "B", want ` + size},
		{new(Size), "KiB", `is "KiB", want ` + size},
		{new(Size), "1.5MiB", `is "1.5MiB", want ` + size},
		{new(Size), "1MB", `is "1MB", want ` + size},
		{new(Size), "0x10", `is "0x10", want ` + size},
		{new(Size), "1 MiB x", `is "1 MiB x", want ` + size},
		{new(Size), "-1", "is -1, want 0 or more"},
		{new(Size), "-1MiB", "is -1MiB, want 0 or more"},
		{new(Size), "-9999999999999999999", "is -9999999999999999999, want 0 or more"},
		{new(Size), "9999999999999999999", "is 9999999999999999999, want at most 1048576GiB"},
		{new(Size), "99999999GiB", "is 99999999GiB, want at most 1048576GiB"},
		{new(Span), "5", `is "5", want ` + span},
		{new(Span), "soon", `is "soon", want ` + span},
		{new(Span), "", `is "", want ` + span},
		{new(Span), "1d", `is "1d", want ` + span},
		{new(Span), "-1s", "is -1s, want 0 or more"},
		{new(Span), "336h0m1s", "is 336h0m1s, want at most 336h"},
		{new(Span), "600h", "is 600h, want at most 336h"},
		{new(Span), "99999999h", "is 99999999h, want at most 336h"},
		{new(Span), "-99999999h", "is -99999999h, want 0 or more"},
		{new(Count), "many", `is "many", want a whole number`},
		{new(Count), "1.5", `is "1.5", want a whole number`},
		{new(Count), "-1", "is -1, want 0 or more"},
		{new(Count), "2147483648", "is 2147483648, want at most 2147483647"},
		{new(Count), "99999999999999999999", "is 99999999999999999999, want at most 2147483647"},
		{new(List), "", "is empty, want at least one value, or leave it out"},
		{new(List), " , ", "is empty, want at least one value, or leave it out"},
		{new(Networks), "", "is empty, want at least one value, or leave it out"},
		{new(Networks), "10.0.0.0/33", `is "10.0.0.0/33", want a network such as 10.0.0.0/8 or 2001:db8::/32, or an address`},
		{new(Networks), "10.0.0.0/8,proxy", `is "proxy", want a network such as 10.0.0.0/8 or 2001:db8::/32, or an address`},
		{new(Networks), "::ffff:0.0.0.0/90", `is "::ffff:0.0.0.0/90", want at least /96 after an IPv4-mapped address, ` +
			`or the IPv4 network such as 10.0.0.0/8`},
	} {
		if err := tt.value.UnmarshalText([]byte(tt.text)); err == nil || err.Error() != tt.want {
			t.Errorf("%T %q: got %v, want %s", tt.value, tt.text, err, tt.want)
		}
	}
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "500ms": 500 * time.Millisecond, "1m30s": 90 * time.Second,
		"336h": maxSpan} {
		var got Span
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%q: got %v, %v, want %v", text, got.Text(), err, want)
		}
	}
}

// TestLists checks that spaces and empty values are ignored, and that a repeated flag adds to the list.
func TestLists(t *testing.T) {
	var got List
	for _, text := range []string{"a", " b , c,", `d\,e,,f`} {
		if err := got.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if want := (List{"a", "b", "c", "d,e", "f"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var networks Networks
	if err := networks.UnmarshalText([]byte("10.0.0.5/8, ::ffff:127.0.0.0/104, 192.0.2.1,2001:db8::1,fe80::/10, " +
		"::ffff:192.0.2.7, ::/0")); err != nil {
		t.Fatal(err)
	}
	want := "[10.0.0.0/8 127.0.0.0/8 192.0.2.1/32 2001:db8::1/128 fe80::/10 192.0.2.7/32 ::/0]"
	if got := fmt.Sprint(networks); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChoices(t *testing.T) {
	var got Choice
	if err := got.UnmarshalText([]byte(" WARN ")); err != nil || got != "warn" {
		t.Errorf("got %q, %v, want warn", got, err)
	}
}

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{"0": 0, "1": 1, " 0.5 ": 0.5, "1e3": 1000, "1073741824": 1 << 30} {
		var got Rate
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": `is "", want a number`, "many": `is "many", want a number`, "10/s": "want a number", "NaN": "want a number",
		"-1": "is -1, want 0 or more", "-Inf": "is -Inf, want 0 or more", "-1e400": "is -1e400, want 0 or more",
		"Inf": "is Inf, want at most 2^30", "1e400": "is 1e400, want at most 2^30", "1073741825": "want at most 2^30",
	} {
		var got Rate
		if err := got.UnmarshalText([]byte(text)); err == nil || got != 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %s", text, got, err, want)
		}
	}
}
