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

// settingError is an error that persists until a setting is changed. The exit code is 2, which keeps a service
// manager from restarting crier again and again.
type settingError struct{ err error }

func (e *settingError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e *settingError) Unwrap() error { return e.err }

// wrongSetting returns err, which may be nil, as that of a setting.
func wrongSetting(err error) error {
	if err == nil {
		return nil
	}
	return &settingError{err}
}

// exitCode is what a command exits with that has returned err.
func exitCode(err error) int {
	var setting *settingError
	if errors.As(err, &setting) {
		return 2
	}
	return 1
}

// passes reports whether the cause of err may go away without a change of settings: a port becomes free, an interface
// comes up, or memory, files or a name server become available again.
func passes(err error) bool {
	for _, kind := range []error{
		unix.EADDRINUSE, unix.EADDRNOTAVAIL, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ENOSPC, unix.EDQUOT,
		unix.EIO, unix.ETIMEDOUT,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	var dns *net.DNSError
	return errors.As(err, &dns) && !dns.IsNotFound
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

var inside = regexp.MustCompile(`(^|[:;] )(?:(?:auth|broadcast|cluster|doctor|follow|netpoll|procfs|swarm|serve|config|load|pub|sub|token): )+`)

// fileError says what is wrong with the file that a flag names.
func fileError(flag, file string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	lasts := !passes(err)
	if err = fmt.Errorf("%s %s: %w", flag, file, err); lasts {
		err = wrongSetting(err)
	}
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
	if !passes(err) {
		where = func(why string) error { return wrongSetting(fmt.Errorf("--%s %s: %s", flag, addr, why)) }
	}
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
	return hinted(where(err.Error()), "%s", want)
}
