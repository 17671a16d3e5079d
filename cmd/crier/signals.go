package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// signalWatch receives the signals of serving:
//
//	SIGTERM, SIGINT   end crier, see serve
//	SIGHUP            reloads, or ends crier if the terminal that started it has been closed
//	SIGQUIT           logs the stacks of all goroutines
//	SIGTTOU, SIGTTIN  are ignored: writing the log to a terminal from the background must not stop the process
//
// Go catches other signals, such as SIGUSR1, and does nothing. SIGPIPE is handled by ignoreBrokenPipes.
type signalWatch struct {
	// Immutable after construction.
	ending   chan os.Signal // Signals that end crier.
	others   chan os.Signal
	stopping chan struct{} // Closed by stop.
	stopped  chan struct{} // Closed when run has returned.
	streams  streams
	dump     func()

	// Owned by run.
	reload   func()
	terminal *hangup // nil if crier was not started from a terminal, or was started with nohup(1).
}

// earlySignals keeps SIGHUP from ending the process before it has read its flags. Scripts and supervisors send SIGHUP
// to all servers alike, even to a server that has just started. It is owned by the goroutine of main.
type earlySignals struct {
	kept chan os.Signal // nil if the signal is ignored, as by nohup(1).
}

// beforeFlags holds the SIGHUP that arrives before the process has read its flags.
var beforeFlags earlySignals

// hold begins to hold SIGHUP.
func (e *earlySignals) hold() {
	if !signal.Ignored(syscall.SIGHUP) {
		e.kept = make(chan os.Signal, 1)
		signal.Notify(e.kept, syscall.SIGHUP)
	}
}

// release stops holding SIGHUP. A SIGHUP that has arrived ends the process, which is the default.
func (e *earlySignals) release() {
	if e.kept == nil {
		return
	}
	signal.Stop(e.kept)
	select {
	case <-e.kept:
		_ = unix.Kill(unix.Getpid(), unix.SIGHUP)
		time.Sleep(time.Second) // Another thread may get the signal, which ends the process.
	default:
	}
	e.kept = nil
}

// handOver stops holding SIGHUP, and sends a SIGHUP that has arrived to a channel that is already notified.
func (e *earlySignals) handOver(to chan<- os.Signal) {
	if e.kept == nil {
		return
	}
	signal.Stop(e.kept)
	select {
	case sig := <-e.kept:
		select {
		case to <- sig:
		default: // The channel already holds a SIGHUP.
		}
	default:
	}
	e.kept = nil
}

// watchSignals starts to receive signals. The caller must call stop.
func (cmd *serveCmd) watchSignals(parse reparse, s streams, logger *slog.Logger) (*signalWatch, error) {
	reload, err := cmd.reloader(parse, logger)
	if err != nil {
		return nil, err
	}
	a := &signalWatch{
		ending: make(chan os.Signal, 2), others: make(chan os.Signal, 2),
		stopping: make(chan struct{}), stopped: make(chan struct{}),
		streams: s, reload: reload, dump: cmd.dumper(s, logger),
	}
	signal.Notify(a.ending, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGTTOU, syscall.SIGTTIN)
	nohup := signal.Ignored(syscall.SIGHUP)
	if !nohup && hasTerminal() {
		a.terminal = &hangup{sinceSignal: never}
	}
	if !nohup || cmd.hasFiles() {
		signal.Notify(a.others, syscall.SIGHUP)
	}
	beforeFlags.handOver(a.others)
	if !signal.Ignored(syscall.SIGQUIT) { // A shell ignores it for background jobs of a script.
		signal.Notify(a.others, syscall.SIGQUIT)
	}
	go a.run() // Stopped and awaited by stop.
	return a, nil
}

// npmRepeats is how long npx and npm run may take to repeat a signal that crier has already received as a member of the
// process group: npm forwards the signal to its shell, and the end of the shell causes another one.
const npmRepeats = time.Second

// exitAtNext makes the next SIGTERM or SIGINT end the process with 1, after a call of before. A closed terminal does
// not count.
func (a *signalWatch) exitAtNext(before func(os.Signal)) {
	first, underNPM := time.Now(), os.Getenv("npm_command") != ""
	go func() { // Ends with the process.
		for sig := range a.ending {
			if sig != syscall.SIGHUP && !(underNPM && time.Since(first) < npmRepeats) {
				before(sig)
				a.streams.flush()
				os.Exit(1)
			}
		}
	}()
}

// interruptedError means that a signal ended crier during its start.
type interruptedError struct {
	sig     os.Signal
	running bool // The interrupted function did not return in time.
}

func (e *interruptedError) Error() string { return "interrupted by the signal " + e.sig.String() }

// during runs f and returns its error, or *interruptedError if a signal ends crier meanwhile. f must return soon
// after its context is done.
func (a *signalWatch) during(f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }() // Ends soon after cancel, or with the process.
	select {
	case err := <-ended:
		return err
	case sig := <-a.ending:
		cancel()
		select {
		case <-ended:
			return &interruptedError{sig: sig}
		case <-time.After(logPatience):
			return &interruptedError{sig: sig, running: true}
		}
	}
}

// stop stops receiving signals, which have their default effect afterwards. It waits for run.
func (a *signalWatch) stop() {
	signal.Stop(a.ending)
	signal.Stop(a.others)
	close(a.stopping)
	<-a.stopped
}

func (a *signalWatch) run() {
	defer close(a.stopped)
	var ticks <-chan time.Time
	if a.terminal != nil {
		ticker := time.NewTicker(terminalTick)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		closed := false
		select {
		case <-a.stopping:
			return
		case sig := <-a.others:
			closed = a.handle(sig)
		case <-ticks:
			var over bool
			if closed, over = a.terminal.noteTick(hasTerminal()); over {
				ticks = nil
			}
		}
		if closed {
			ticks, a.terminal = nil, nil
			a.reload = func() {} // The shell may send SIGHUP as well as the kernel.
			select {
			case a.ending <- syscall.SIGHUP:
			default: // crier is already ending.
			}
		}
	}
}

// handle acts on a signal, and reports whether the signal means that the terminal was closed.
func (a *signalWatch) handle(sig os.Signal) (closed bool) {
	switch {
	case sig == syscall.SIGQUIT:
		a.dump()
	case a.terminal != nil && a.terminal.noteSIGHUP(hasTerminal()):
		return true
	default:
		a.reload()
	}
	return false
}

// terminalTick is how often crier checks whether the terminal that started it still exists.
const terminalTick = time.Second

// hangup distinguishes the SIGHUP of a closed terminal from a SIGHUP that a process sent. Both look the same, but the
// kernel detaches a closed terminal from its processes. So SIGHUP ends crier if the terminal disappears at the same
// time. If the terminal disappeared earlier, crier has survived that, and SIGHUP means a reload. Time is counted in
// ticks, which do not pass while the process is stopped. It is owned by signalWatch.run.
type hangup struct {
	gone        int // Ticks without the terminal.
	sinceSignal int // Ticks since the last SIGHUP.
}

const (
	atOnce = 3       // The most ticks between the end of the terminal and its SIGHUP.
	never  = 1 << 30 // As sinceSignal: no SIGHUP yet.
)

// noteSIGHUP records a SIGHUP, and reports whether the terminal was closed. present is whether the terminal exists.
func (h *hangup) noteSIGHUP(present bool) (closed bool) {
	h.sinceSignal = 0
	return !present && h.gone < atOnce
}

// noteTick records that a tick has passed. closed reports whether the terminal was closed, and over whether it has been
// gone for so long that SIGHUP means a reload. present is whether the terminal exists.
func (h *hangup) noteTick(present bool) (closed, over bool) {
	h.sinceSignal++
	if present {
		h.gone = 0
		return false, false
	}
	h.gone++
	return h.sinceSignal <= atOnce, h.gone >= atOnce
}

// hasTerminal reports whether the process has a controlling terminal: tty(4). It returns true if it cannot find out,
// for example for lack of file descriptors.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOENT)
}

// dumper returns the function that logs the stacks of all goroutines: in text as Go prints them, in JSON as a record
// for each stack.
func (cmd *serveCmd) dumper(s streams, logger *slog.Logger) func() {
	return func() {
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2) // A buffer takes everything.
		logger.Warn("SIGQUIT: the stacks of all goroutines follow, and crier continues; SIGABRT ends it with all stacks")
		for stack := range bytes.SplitSeq(stacks.Bytes(), []byte("\n\n")) {
			if cmd.LogFormat == "json" {
				logger.Warn("goroutine", "stack", string(stack))
				continue
			}
			_, _ = s.log.Write(append(bytes.TrimSpace(stack), "\n\n"...)) // The log counts the lines that it loses.
		}
	}
}
