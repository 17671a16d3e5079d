// Package term writes text to terminals: colours, and text of peers without control characters that a terminal would
// obey. It stays a package of its own: the usual libraries (golang.org/x/term, go-isatty, fatih/color) detect
// terminals and write colours, which are 30 of its lines, but do not escape text or colour the lines of a
// slog.TextHandler. Linux only.
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

// Paint writes text in colours, or without. The zero value writes it without.
type Paint struct{ on bool }

// PaintFor returns a Paint for text that is written to w. It uses colours if w is a terminal, unless NO_COLOR is set
// and not empty (https://no-color.org), or TERM is dumb.
func PaintFor(w io.Writer) Paint {
	return Paint{IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Colour is a colour of terminals: console_codes(4).
type Colour int

// The colours.
const (
	Red    Colour = 31
	Green  Colour = 32
	Yellow Colour = 33
	Cyan   Colour = 36
)

// Text returns s in a colour. s must be free of control characters: see Visible.
func (p Paint) Text(c Colour, s string) string {
	if !p.on {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, s)
}

// Log returns a writer for a slog.TextHandler. It writes each line to w, with its level in a colour. The handler quotes
// control characters.
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

// Write writes a line. The level follows the time, so it precedes all text that a peer may have sent.
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

// Safe returns text of a peer as it may be written to w: the result of Visible if w is a terminal, and b itself
// otherwise. The result may share memory with b.
func Safe(w io.Writer, b []byte) []byte {
	if !IsTerminal(w) {
		return b
	}
	return []byte(Visible(string(b)))
}

// Visible returns s with control characters, invalid UTF-8 and non-graphic characters escaped as in Go's string
// literals. Tabs and line ends are kept.
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
