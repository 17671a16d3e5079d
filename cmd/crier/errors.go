package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/crier-ws/crier/internal/term"
	"golang.org/x/sys/unix"
)

// hintedError is an error with a hint: what to do about it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }

// Unwrap returns the error without the hint.
func (e *hintedError) Unwrap() error { return e.err }

// hinted returns err with a hint, or nil if err is nil.
func hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// hintOf returns the hint of an error, or "".
func hintOf(err error) string {
	var e *hintedError
	switch {
	case errors.As(err, &e):
		return e.hint
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit of open files, with ulimit -n or LimitNOFILE=; crier doctor --quick shows the limits"
	case errors.Is(err, unix.ENOMEM):
		return "this host, or its control group, has no memory left: crier doctor --quick shows how much it has"
	case errors.Is(err, unix.ENOSPC):
		return "free some space, or write to another disk"
	}
	return ""
}

// settingError is an error that persists until a setting is changed. The exit code is 2, which keeps a service
// manager from restarting crier again and again.
type settingError struct{ err error }

func (e *settingError) Error() string { return e.err.Error() }

// Unwrap returns the error without the mark.
func (e *settingError) Unwrap() error { return e.err }

// wrongSetting returns err as the error of a setting, or nil if err is nil.
func wrongSetting(err error) error {
	if err == nil {
		return nil
	}
	return &settingError{err}
}

// exitCode returns the exit code of a command that has returned err.
func exitCode(err error) int {
	var setting *settingError
	if errors.As(err, &setting) {
		return 2
	}
	return 1
}

// isTemporary reports whether the cause of err may go away without a change of settings: a port becomes free, an
// interface comes up, or memory, files or a name server become available again.
func isTemporary(err error) bool {
	for _, kind := range []error{
		unix.EADDRINUSE, unix.EADDRNOTAVAIL, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ENOSPC,
		unix.EDQUOT, unix.EIO, unix.ETIMEDOUT,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	var dns *net.DNSError
	return errors.As(err, &dns) && !dns.IsNotFound
}

// printError writes an error and its hint, each in a line. Control characters in them, which a peer may have sent, are
// written out, so that a terminal does not obey them.
func printError(w io.Writer, err error) {
	printLine(w, oneLine(err))
	printHint(w, hintOf(err))
}

// printLine writes a line of text that reports a problem, and is not a line of the log.
func printLine(w io.Writer, text string) {
	fmt.Fprintf(w, "%s %s\n", term.PaintFor(w).Text(term.Red, "crier:"), term.Visible(text))
}

// printNote writes a line of text that reports no problem, and is not a line of the log.
func printNote(w io.Writer, text string) {
	fmt.Fprintf(w, "%s %s\n", term.PaintFor(w).Text(term.Green, "crier:"), term.Visible(text))
}

// printHint writes a hint, unless it is empty.
func printHint(w io.Writer, text string) {
	if text != "" {
		fmt.Fprintf(w, "%s %s\n", term.PaintFor(w).Text(term.Cyan, "hint:"), term.Visible(text))
	}
}

// oneLine returns the text of an error in one line, without the names of packages and commands.
func oneLine(err error) string {
	return prefixes.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", "; "), "$1")
}

// prefixes matches the names of packages and commands that begin an error.
var prefixes = regexp.MustCompile(`(^|[:;] )(?:(?:` +
	`auth|broadcast|cluster|doctor|follow|netpoll|procfs|swarm|serve|config|load|pub|sub|token): )+`)

// fileError returns err as the error of the file that a flag names, with a hint.
func fileError(flag, file string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	lasts := !isTemporary(err)
	if err = fmt.Errorf("%s %s: %w", flag, file, err); lasts {
		err = wrongSetting(err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if here, wdErr := os.Getwd(); wdErr == nil && !filepath.IsAbs(file) {
			return hinted(err, "names that do not begin with / are relative to %s", here)
		}
		return hinted(err, "check the name: ls -l %s lists the directory", filepath.Dir(file))
	case errors.Is(err, fs.ErrPermission):
		return hinted(err, "the user that crier runs as, with the ID %d, must be able to read it: see ls -l %s",
			os.Getuid(), file)
	}
	return err
}

// explainListen returns err as the error of listening on the address that a flag gives, with a hint.
func explainListen(flag, addr string, err error, want string) error {
	where := func(why string) error { return fmt.Errorf("--%s %s: %s", flag, addr, why) }
	if !isTemporary(err) {
		where = func(why string) error { return wrongSetting(fmt.Errorf("--%s %s: %s", flag, addr, why)) }
	}
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return hinted(where("the port is in use by another process"),
			"ss -ltnp 'sport = :%s' shows the process; --%s takes another port", port, flag)
	case errors.Is(err, unix.EACCES):
		return hinted(where("permission denied"), "ports below 1024 are for root: choose another port, "+
			"set AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, "+
			"or run setcap cap_net_bind_service=+ep on the program")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return hinted(where("this host does not have that address"),
			"ip address lists its addresses; without a host, as :%s, crier listens on all interfaces", port)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound && !strings.Contains(dns.Name, "/") {
		want = "this host does not know the name: write an address; " + want
	}
	return hinted(where(err.Error()), "%s", want)
}
