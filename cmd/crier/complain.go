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

// hintedError is an error with what to do about it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }

// Unwrap returns the error without the hint.
func (e *hintedError) Unwrap() error { return e.err }

// hinted returns err, which may be nil, with what to do about it.
func hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

// hintOf is what to do about an error, or empty.
func hintOf(err error) string {
	var e *hintedError
	switch {
	case errors.As(err, &e):
		return e.hint
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit of open files, with ulimit -n or LimitNOFILE=; crier doctor --quick says what there is"
	case errors.Is(err, unix.ENOMEM):
		return "this host, or its control group, has no memory left: crier doctor --quick says what there is"
	case errors.Is(err, unix.ENOSPC):
		return "make room, or write elsewhere"
	}
	return ""
}

// complain writes an error and its hint, a line each. Whoever sent what is in them, a terminal
// does not obey it.
func complain(w io.Writer, err error) {
	say(w, oneLine(err))
	sayHint(w, hintOf(err))
}

// say writes a line that is not of the log.
func say(w io.Writer, text string) {
	fmt.Fprintf(w, "%s %s\n", term.PaintFor(w).Text(term.Red, "crier:"), term.Visible(text))
}

// note writes a line that is not of the log and reports no error.
func note(w io.Writer, text string) {
	fmt.Fprintf(w, "%s %s\n", term.PaintFor(w).Text(term.Green, "crier:"), term.Visible(text))
}

// sayHint writes what to do, if there is something.
func sayHint(w io.Writer, text string) {
	if text != "" {
		fmt.Fprintf(w, "%s %s\n", term.PaintFor(w).Text(term.Cyan, "hint:"), term.Visible(text))
	}
}

// oneLine is an error without line ends, and without the names of packages and commands.
func oneLine(err error) string {
	return inside.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", "; "), "$1")
}

var inside = regexp.MustCompile(`(^|[:;] )(?:(?:auth|broadcast|chart|cluster|doctor|follow|netpoll|procfs|swarm|serve|config|load|pub|sub|token): )+`)

// fileError says what is wrong with the file that a flag names.
func fileError(flag, file string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	err = fmt.Errorf("%s %s: %w", flag, file, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if here, wdErr := os.Getwd(); wdErr == nil && !filepath.IsAbs(file) {
			return hinted(err, "names that do not begin with / are looked up in %s", here)
		}
		return hinted(err, "is the name right? ls -l %s shows what there is", filepath.Dir(file))
	case errors.Is(err, fs.ErrPermission):
		return hinted(err, "the user that crier runs as, here of id %d, must be able to read it: see ls -l %s", os.Getuid(), file)
	}
	return err
}

// explainListen says why the address that a flag gives is not listened on, and what to do.
func explainListen(flag, addr string, err error, want string) error {
	where := func(why string) error { return fmt.Errorf("--%s %s: %s", flag, addr, why) }
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return hinted(where("the port is in use by another process"), "ss -ltnp 'sport = :%s' shows by which one; --%s takes another port", port, flag)
	case errors.Is(err, unix.EACCES):
		return hinted(where("permission denied"), "ports below 1024 are for root: take another one, AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or setcap cap_net_bind_service=+ep on the program")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return hinted(where("this host does not have that address"), "ip address shows those it has; without a host, as :%s, all interfaces are listened on", port)
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound && !strings.Contains(dns.Name, "/") {
		want = "the name is not known here: write an address; " + want
	}
	return hinted(fmt.Errorf("--%s %s: %w", flag, addr, err), "%s", want)
}

// configError is what is wrong with a Config, in the words of the command line.
type configError struct{ err error }

func (e configError) Error() string { return flagNames.Replace(e.err.Error()) }

// Unwrap returns what the package said.
func (e configError) Unwrap() error { return e.err }

const moreMemory = "give more of it, or lower --max-message, --retain or --max-conns; without --memory there is no bound"

// configFault says what is wrong with a Config, and what to do.
func configFault(err error) error {
	err = configError{err}
	switch text := err.Error(); {
	case strings.Contains(text, "--memory"):
		return hinted(err, "%s", moreMemory)
	case strings.Contains(text, "--retain-total"):
		return hinted(err, "raise it, or lower --retain: one channel may need that much")
	case strings.Contains(text, "--origin"):
		return hinted(err, "an origin is what browsers send in the header Origin: scheme, host and port, no path")
	}
	return err
}
