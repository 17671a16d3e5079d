// Package term writes for people: colours where somebody sees them, and nothing that a peer
// sent which a terminal would obey. Linux only.
package term

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// IsTerminal reports whether w is a terminal, ioctl_tty(2): an *os.File, or a wrapper with the SyscallConn of one.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(syscall.Conn)
	if !ok {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var isTerminal bool
	err = conn.Control(func(fd uintptr) {
		_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		isTerminal = err == nil
	})
	return err == nil && isTerminal
}

// Paint puts text in colours, or does not. The zero value does not.
type Paint struct{ on bool }

// PaintFor returns a Paint for what goes to w: one that paints if w is a terminal, unless
// NO_COLOR is set and not empty (https://no-color.org), or TERM is dumb.
func PaintFor(w io.Writer) Paint {
	return Paint{IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Colour is one of a terminal's, console_codes(4).
type Colour int

// The colours.
const (
	Red    Colour = 31
	Green  Colour = 32
	Yellow Colour = 33
	Cyan   Colour = 36
)

// Text returns s in a colour. It is for text that is safe: see Visible.
func (p Paint) Text(c Colour, s string) string {
	if !p.on {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, s)
}

// Log returns what a slog.TextHandler may write to in the place of w: each line goes on as it
// is, but for the colour of its level. The handler quotes whatever could be taken for a code.
func (p Paint) Log(w io.Writer) io.Writer {
	if !p.on {
		return w
	}
	return logWriter{w, p}
}

type logWriter struct {
	w io.Writer
	p Paint
}

var levels = []struct {
	text   []byte
	colour Colour
}{{[]byte("level=WARN"), Yellow}, {[]byte("level=ERROR"), Red}}

// Write writes a line. The level stands behind the time, so it comes before all that a peer
// may have said.
func (l logWriter) Write(line []byte) (int, error) {
	for _, level := range levels {
		before, after, ok := bytes.Cut(line, level.text)
		if !ok || bytes.Contains(before, []byte("level=")) {
			continue
		}
		if _, err := fmt.Fprintf(l.w, "%s%s%s", before, l.p.Text(level.colour, string(level.text)), after); err != nil {
			return 0, err
		}
		return len(line), nil
	}
	return l.w.Write(line)
}

// Safe returns what of a peer's bytes may go to w: all, unless w is a terminal: then what
// Visible makes of them. b is borrowed until the result is used no more.
func Safe(w io.Writer, b []byte) []byte {
	if !IsTerminal(w) {
		return b
	}
	return []byte(Visible(string(b)))
}

// Visible returns s with control characters, invalid UTF-8 and what a terminal cannot show written as in Go's strings.
// Tabs and line ends stay.
func Visible(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if isInvalid := r == utf8.RuneError && n == 1; !isInvalid && (r == '\n' || r == '\t' || unicode.IsGraphic(r)) {
			b.WriteString(s[:n])
		} else {
			b.WriteString(strings.Trim(strconv.QuoteToASCII(s[:n]), `"`))
		}
		s = s[n:]
	}
	return b.String()
}
