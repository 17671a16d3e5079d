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
//	SIGTERM, SIGINT   end it, see serve
//	SIGHUP            reloads; or ends it, if the terminal that it was started from has been closed
//	SIGQUIT           logs what all goroutines are at
//	SIGTTOU, SIGTTIN  are ignored: in the background of a terminal the log must not stop the process
//
// Go catches others, such as SIGUSR1, and does nothing; outliveReaders has SIGPIPE.
type signalWatch struct {
	ending   chan os.Signal // Signals that end crier.
	others   chan os.Signal
	stopping chan struct{}
	stopped  chan struct{} // Closed when run has returned.

	streams      streams
	reload, dump func()
	terminal     *hangup // Or nil: it was not started from a terminal, or with nohup(1).
}

// earlySignals keeps SIGHUP from ending the process before the process has read its flags and knows that it serves.
// Scripts and supervisors send SIGHUP to all servers alike, even to a server that has just started.
type earlySignals struct{ kept chan os.Signal } // Its channel is nil if the signal is ignored, as by nohup(1).

// early is the process's.
var early earlySignals

// keep begins to keep the signal.
func (e *earlySignals) keep() {
	if !signal.Ignored(syscall.SIGHUP) {
		e.kept = make(chan os.Signal, 1)
		signal.Notify(e.kept, syscall.SIGHUP)
	}
}

// release stops keeping SIGHUP. A SIGHUP that arrived meanwhile ends the process, as it would by default.
func (e *earlySignals) release() {
	if e.kept == nil {
		return
	}
	signal.Stop(e.kept)
	select {
	case <-e.kept:
		_ = unix.Kill(unix.Getpid(), unix.SIGHUP)
		time.Sleep(time.Second) // Another thread may get it; it ends the process.
	default:
	}
	e.kept = nil
}

// handOver gives up the signal to a channel that receives it already, and one that came meanwhile as well.
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

// watchSignals receives signals until stop.
func (cmd *serveCmd) watchSignals(parse again, s streams, logger *slog.Logger) (*signalWatch, error) {
	reload, err := cmd.reloader(parse, logger)
	if err != nil {
		return nil, err
	}
	a := &signalWatch{
		ending: make(chan os.Signal, 2), others: make(chan os.Signal, 2),
		stopping: make(chan struct{}), stopped: make(chan struct{}), streams: s, reload: reload, dump: cmd.dumper(s, logger),
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
	early.handOver(a.others)
	if !signal.Ignored(syscall.SIGQUIT) { // A shell ignores it for what a script starts in the background.
		signal.Notify(a.others, syscall.SIGQUIT)
	}
	go a.run() // Stopped and awaited by stop.
	return a, nil
}

// npmRepeats is how long npx and npm run may take to pass a signal on that crier has got, too: its process
// group gets it, npm sends it to its shell, and the end of the shell is another one.
const npmRepeats = time.Second

// exitAtNext ends the process with 1 at the next SIGTERM or SIGINT, after before. A terminal may be closed meanwhile.
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

// interruptedError is why crier ends while it starts.
type interruptedError struct {
	sig     os.Signal
	running bool // What was interrupted did not return in time.
}

func (e *interruptedError) Error() string { return "interrupted by the signal " + e.sig.String() }

// during runs f, which returns soon after its context is done, and returns its error, or *interruptedError at a
// signal that ends crier.
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

// stop ends it. Signals do what they do to any process afterwards.
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
			closed = a.heard(sig)
		case <-ticks:
			var over bool
			if closed, over = a.terminal.tick(hasTerminal()); over {
				ticks = nil
			}
		}
		if closed {
			ticks, a.terminal = nil, nil
			a.reload = func() {} // The shell may send SIGHUP as well as the kernel.
			select {
			case a.ending <- syscall.SIGHUP:
			default: // It ends already.
			}
		}
	}
}

// heard does what a signal asks for, and reports whether it is that of a terminal which was closed.
func (a *signalWatch) heard(sig os.Signal) (closed bool) {
	switch {
	case sig == syscall.SIGQUIT:
		a.dump()
	case a.terminal != nil && a.terminal.signal(hasTerminal()):
		return true
	default:
		a.reload()
	}
	return false
}

// terminalTick is how often crier looks whether the terminal that it was started from still exists.
const terminalTick = time.Second

// hangup tells the SIGHUP of a terminal that was closed from one that somebody sent. The two look the same, but the
// kernel takes a closed terminal away from the processes that it controlled. So SIGHUP ends crier if the terminal
// disappears at the same time. If the terminal has been gone for longer, crier has outlived it, and SIGHUP means a
// reload. Time is counted in ticks, which do not pass while the process is stopped.
type hangup struct {
	gone        int // Ticks without the terminal.
	sinceSignal int // Ticks since the last SIGHUP.
}

const (
	atOnce = 3 // Ticks between the terminal's end and its SIGHUP, at most.
	never  = 1 << 30
)

// signal notes SIGHUP, and reports whether it is the terminal's. present is whether that exists.
func (h *hangup) signal(present bool) (closed bool) {
	h.sinceSignal = 0
	return !present && h.gone < atOnce
}

// tick notes that a tick has passed, and reports whether the terminal was closed, or has been gone for so long that it
// matters no longer.
func (h *hangup) tick(present bool) (closed, over bool) {
	h.sinceSignal++
	if present {
		h.gone = 0
		return false, false
	}
	h.gone++
	return h.sinceSignal <= atOnce, h.gone >= atOnce
}

// hasTerminal reports whether the process has a controlling terminal: tty(4). What keeps it from finding out, such as
// a lack of file descriptors, counts as having one.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOENT)
}

// dumper returns what logs the stacks of all goroutines: in text as Go prints them, in JSON one record for each.
func (cmd *serveCmd) dumper(s streams, logger *slog.Logger) func() {
	return func() {
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2) // A buffer takes everything.
		logger.Warn("SIGQUIT: the stacks of all goroutines follow, and crier goes on; SIGABRT ends it with them")
		for stack := range bytes.SplitSeq(stacks.Bytes(), []byte("\n\n")) {
			if cmd.LogFormat == "json" {
				logger.Warn("goroutine", "stack", string(stack))
				continue
			}
			_, _ = s.log.Write(append(bytes.TrimSpace(stack), "\n\n"...)) // The log counts what it loses.
		}
	}
}
