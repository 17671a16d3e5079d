package term

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// hostile has texts of a peer that a terminal would obey.
var hostile = []string{
	"\x1b[31mred", "\x1b]0;title\x07", "\u009b31m", "\x9b31m", "a\rb", "\x00", "\x7f", "\u202egnp.exe", "\u2028",
	"\U000e0001",
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"plain, ünïcode→": "plain, ünïcode→",
		"two\nlines\t":    "two\nlines\t",
		"\x1b[31mred":     `\x1b[31mred`,
		"\u009b31m":       `\u009b31m`,
		"\x9b31m":         `\x9b31m`,
		"a\rb":            `a\rb`,
		"\u202egnp.exe":   `\u202egnp.exe`,
		"\U000e0001":      `\U000e0001`,
		"\ufffd":          "\ufffd",
	} {
		if got := Visible(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for _, s := range hostile {
		if got := Visible(s); strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Errorf("%q: got %q", s, got)
		}
	}
}

// TestLog checks that the level has a colour, that the rest of a line is unchanged, and that text of a peer neither
// is a control sequence nor gets a colour.
func TestLog(t *testing.T) {
	record := func(p Paint) string {
		var b bytes.Buffer
		fixTime := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.String(slog.TimeKey, "now")
			}
			return a
		}
		opts := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: fixTime}
		logger := slog.New(slog.NewTextHandler(p.Log(&b), opts))
		for _, s := range append(hostile, "level=ERROR", "level=WARN") {
			logger.Debug("m", "path", s)
			logger.Info("m", "path", s)
			logger.Warn("m", "path", s)
			logger.Error("m", "path", s)
			logger.Info(s, s, s)
		}
		return b.String()
	}
	plain, painted := record(Paint{}), record(Paint{on: true})
	if strings.Contains(plain, "\x1b") {
		t.Errorf("got %q, want no control sequences", plain)
	}
	want := strings.NewReplacer("time=now level=WARN", "time=now \x1b[33mlevel=WARN\x1b[0m",
		"time=now level=ERROR", "time=now \x1b[31mlevel=ERROR\x1b[0m").Replace(plain)
	if painted != want || painted == plain {
		t.Errorf("got\n%q\nwant\n%q", painted, want)
	}
	// slog does not quote DEL, which terminals ignore: console_codes(4).
	if strings.ContainsFunc(plain, func(r rune) bool { return r != '\n' && (r < ' ' || r > 0x7f) }) {
		t.Errorf("got %q, want no control characters", plain)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

// TestLogBroken checks the results of Write with and without an error of the underlying writer.
func TestLogBroken(t *testing.T) {
	for _, line := range []string{"time=now level=WARN msg=m\n", "time=now level=INFO msg=m\n"} {
		if n, err := (Paint{on: true}).Log(brokenWriter{}).Write([]byte(line)); n != 0 || err == nil {
			t.Errorf("%q: got %d, %v", line, n, err)
		}
		if n, err := (Paint{on: true}).Log(new(bytes.Buffer)).Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%q: got %d, %v, want all of it", line, n, err)
		}
	}
}

// TestNoTerminal checks that files other than terminals get no colours. Tests with terminals are in cmd/crier.
func TestNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, f := range []*os.File{r, w, closed, nil} {
		if IsTerminal(f) || PaintFor(f).Text(Red, "x") != "x" {
			t.Errorf("%v is taken for a terminal", f)
		}
	}
	w.Close()
	if IsTerminal(new(bytes.Buffer)) {
		t.Error("a buffer is taken for a terminal")
	}
}
