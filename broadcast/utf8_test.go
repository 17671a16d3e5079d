package broadcast

import (
	"sync"
	"testing"
	"unicode/utf8"
)

// runePrefixes is every byte string that begins the encoding of a code point
// and is not a whole one. All code points that differ in the last byte only
// have the same.
var runePrefixes = sync.OnceValue(func() map[string]bool {
	prefixes := make(map[string]bool)
	for r := rune(0x80); r <= utf8.MaxRune; r += 64 {
		if !utf8.ValidRune(r) {
			continue
		}
		for b := utf8.AppendRune(nil, r); len(b) > 1; {
			b = b[:len(b)-1]
			prefixes[string(b)] = true
		}
	}
	return prefixes
})

// firstBad returns the index of the first byte of b after which no further bytes can make the text valid, or len(b)
// if there is none. It is slow, and follows the definition.
func firstBad(b []byte) int {
	from := 0 // Where the present code point starts.
	for i := range b {
		switch part := b[from : i+1]; {
		case utf8.Valid(part):
			from = i + 1
		case !runePrefixes()[string(part)]:
			return i
		}
	}
	return len(b)
}

func TestFirstBad(t *testing.T) { // Who checks the checker.
	tests := []struct {
		name, text string
		want       int
	}{
		{"empty", "", 0},
		{"ASCII", "abc", 3},
		{"all lengths", "a\u00e9\u20ac\U0001F600", 10},
		{"cut", "ab\xf0\x9f\x98", 5},
		{"lone continuation", "a\x80b", 1},
		{"overlong 2", "a\xc0\x80", 1},
		{"overlong 3", "a\xe0\x80\x80", 2},
		{"overlong 4", "a\xf0\x80\x80\x80", 2},
		{"surrogate", "\xed\xa0\x80", 1},
		{"above the last", "\xf4\x90\x80\x80", 1},
		{"no such lead", "\xf5\x80", 0},
		{"broken off", "\xe2\x82a", 2},
	}
	for _, tt := range tests {
		if got := firstBad([]byte(tt.text)); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// checkText gives b to a textCheck in pieces, whose sizes are from chops, and compares each result with the
// definition.
func checkText(t *testing.T, b, chops []byte) {
	t.Helper()
	bad := firstBad(b)
	var c textCheck
	for at, i := 0, 0; at < len(b); i++ {
		n := 1
		if len(chops) > 0 {
			n = int(chops[i%len(chops)]) % 9
		}
		if i > 2*len(b) { // All chops are empty.
			n = len(b)
		}
		n = min(n, len(b)-at)
		got, want := c.validSoFar(b[at:at+n]), bad >= at+n
		if got != want {
			t.Fatalf("%q, bytes %d to %d: got %t, want %t; first bad byte is %d", b, at, at+n, got, want, bad)
		}
		if !got {
			return
		}
		at += n
	}
	if got, want := c.complete(), utf8.Valid(b); got != want {
		t.Fatalf("%q: done: got %t, want %t", b, got, want)
	}
}

// TestTextCheck tries every pair of bytes and, for interesting ones, every four of them, after and before a complete
// code point, in pieces of each size.
func TestTextCheck(t *testing.T) {
	sizes := [][]byte{{1}, {2}, {3}, {4}, {8}, {1, 0, 2}, {3, 1}}
	for first := range 256 {
		for second := range 256 {
			b := []byte{'a', byte(first), byte(second), 0xc3, 0xa9}
			for _, chops := range sizes[:3] {
				checkText(t, b, chops)
			}
		}
	}
	edges := []byte{0, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf3, 0xf4, 0xf5, 0xff}
	for i := range len(edges) * len(edges) * len(edges) * len(edges) {
		b := make([]byte, 0, 6)
		for n := i; len(b) < 4; n /= len(edges) {
			b = append(b, edges[n%len(edges)])
		}
		b = append(b, 0x80, 'z')
		checkText(t, b, sizes[i%len(sizes)])
	}
}

func FuzzTextCheck(f *testing.F) {
	f.Add([]byte("plain"), []byte{1})
	f.Add([]byte("a\u00e9\u20ac\U0001F600z"), []byte{1, 2, 3})
	f.Add([]byte("\xed\xa0\x80"), []byte{2, 1})
	f.Add([]byte("\xf4\x90\x80\x80"), []byte{1, 8})
	f.Add([]byte("ab\xe2\x82"), []byte{0, 3})
	f.Fuzz(checkText)
}
